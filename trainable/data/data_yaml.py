"""A `data.yaml`: what each of its keys says of a data set, written as here or as YOLO's own tools write it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from trainable.data.annotations import MOST_CLASSES
from trainable.data.class_names import checked_names, read_names
from trainable.data.faults import DataError, Fault
from trainable.data.lists import IdList, list_of_folder, read_list
from trainable.text.shown import shown
from trainable.text.yaml_file import YamlError, read_yaml

_KEYS = ("path", "before", "after", "labels", "names", "nc", "train", "val", "val_ratio", "seed")
_OTHER_TOOLS_KEYS = ("test", "download", "roboflow", "license")
_LISTED = "its ids, a file that lists them, or a folder of their images or labels"


@dataclass(frozen=True)
class DataYaml:
    """The values of a `data.yaml`, each checked when it is asked for."""

    file: Path
    fields: Mapping[Any, Any]
    root: Path
    """The folder that all its paths are within."""
    faults: list[Fault]
    """What is wrong is added to them, and a value that can stand in its place is given."""

    @classmethod
    def read(cls, file: Path, faults: list[Fault]) -> "DataYaml":
        """Reads the file, and checks which keys it has.

        Raises:
            DataError: it is no mapping in YAML.
        """
        fields = _mapping(file)
        allowed = f"the keys are {', '.join(_KEYS)}"
        unknown = [key for key in fields if key not in (*_KEYS, *_OTHER_TOOLS_KEYS)]
        faults += [Fault("unknown key", str(file), None, str(key)[:80], allowed) for key in unknown]
        return cls(file, fields, _root(file, fields.get("path", "."), faults), faults)

    def keys_left_alone(self) -> tuple[str, ...]:
        """Its keys that mean something to other tools alone."""
        return tuple(key for key in _OTHER_TOOLS_KEYS if key in self.fields)

    def folder(self, key: str) -> Path:
        """One of the three folders; by default it is called as its key."""
        return self._path(key, self.fields.get(key, key)) or self.root

    def names(self) -> tuple[tuple[str, ...] | None, Path | None]:
        """The class names and the file that gives them; None for what is not given. `nc` alone makes them numbers."""
        names, source = self._names() if "names" in self.fields else (None, None)
        count = self.fields.get("nc")
        if count is None:
            return names, source
        if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= MOST_CLASSES:
            self._wrong("nc", count, f"the number of classes, from 1 to {MOST_CLASSES}")
        elif names is None:
            return tuple(map(str, range(count))), None
        elif names and len(names) != count:
            self._wrong("nc", count, f"the number of names, which is {len(names)}, or left out")
        return names, source

    def lists(self, labels: Path) -> tuple[IdList, IdList] | None:
        """The user's own train and val; None where they give none.

        Args:
            labels: the folder of labels.
        """
        if "train" not in self.fields and "val" not in self.fields:
            return None
        if "val_ratio" in self.fields or "seed" in self.fields:
            self._wrong("val_ratio, seed", "beside train, val", "left out where train and val are given")
        return self._list("train", labels), self._list("val", labels)

    def val_ratio(self, default: float) -> float:
        """The share of val in a drawn split."""
        value = self.fields.get("val_ratio", default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            self._wrong("val_ratio", value, "a number above 0 and below 1")
        return value

    def seed(self, default: int) -> int:
        """The seed of a drawn split."""
        value = self.fields.get("seed", default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            self._wrong("seed", value, "a whole number, 0 or more")
        return value

    def _path(self, key: str, value: Any) -> Path | None:
        """A path below `root`: a data.yaml may come from anyone, and reads no files but those of its data set."""
        if not isinstance(value, str):
            self._wrong(key, value, "a path, as text")
            return None
        path = PurePath(value)
        if path.is_absolute() and path.is_relative_to(self.root.absolute()):
            path = path.relative_to(self.root.absolute())
        if "\\" in value and not (self.root / path).exists():  # As Windows writes it.
            path = PurePath(value.replace("\\", "/"))
        if path.is_absolute() or PureWindowsPath(value).drive or ".." in path.parts:
            advice = "a path within `path`, which may be any folder that holds them all"
            met = f"{key}: {shown(value)}"
            self.faults.append(Fault("path outside the data folder", str(self.file), None, met, advice))
            return None
        return self.root / path

    def _names(self) -> tuple[tuple[str, ...], Path]:
        value = self.fields["names"]
        if isinstance(value, str) and value.endswith((".txt", ".names")):
            path = self._path("names", value)
            return (read_names(path, self.faults), path) if path else ((), self.file)
        if isinstance(value, Mapping):
            if set(value) != set(range(len(value))) or bool in map(type, value):
                self._wrong("names", list(value), "class ids from 0 up, none left out, each with its name")
                return (), self.file
            value = [value[class_id] for class_id in range(len(value))]
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            rule = "a list of texts (quote yes, no and numbers), or a .txt or .names file of them"
            self._wrong("names", value, rule)
            return (), self.file
        return checked_names([name.strip() for name in value], str(self.file), self.faults), self.file

    def _list(self, key: str, labels: Path) -> IdList:
        value = self.fields.get(key)
        if isinstance(value, str):
            path = self._path(key, value)
            return self._list_at(key, path, labels) if path else IdList(str(self.file), ())
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            self._wrong(key, value, f"{_LISTED} (quote numbers)")
            return IdList(str(self.file), ())
        return IdList(str(self.file), tuple((None, entry) for entry in value))

    def _list_at(self, key: str, path: Path, labels: Path) -> IdList:
        """The list that a path gives: that of a file, or all that lies in a folder.

        YOLO's `images/train` stands for `labels/train`; its images are not needed here, where each is a pair.
        """
        if path.is_dir():
            return list_of_folder(path, self.root, self.faults)
        meant = labels.joinpath(*path.relative_to(self.root).parts[1:])
        if not path.suffix and not os.path.lexists(path) and meant != labels and meant.is_dir():
            return list_of_folder(meant, self.root, self.faults)
        return read_list(path, f"{key} is {_LISTED}: all within {shown(str(self.root))}", self.faults)

    def _wrong(self, key: str, value: Any, rule: str) -> None:
        self.faults.append(_wrong_value(self.file, key, value, rule))


def _mapping(file: Path) -> Mapping[Any, Any]:
    try:
        fields = read_yaml(file)
    except YamlError as error:
        advice = "give a folder or a data.yaml"
        raise DataError([Fault("not readable as YAML", str(file), None, str(error), advice)]) from None
    if not isinstance(fields, Mapping):
        raise DataError([_wrong_value(file, "the file", fields, f"a mapping of {', '.join(_KEYS)}")])
    return fields


def _root(file: Path, value: Any, faults: list[Fault]) -> Path:
    try:
        root = file.parent / Path(value).expanduser()
    except (TypeError, RuntimeError):  # No text; the home of somebody who is not known here.
        faults.append(_wrong_value(file, "path", value, "a path, as text"))
        return file.parent
    if not root.is_dir():
        advice = (
            "path is the folder that holds before, after and labels, relative to this file; leave it out if they lie "
            "beside the file"
        )
        faults.append(Fault("missing folder", str(file), None, f"path: {shown(value)}", advice))
    return root


def _wrong_value(file: Path, key: str, value: Any, rule: str) -> Fault:
    return Fault("wrong value", str(file), None, f"{key}: {shown(value)}", f"{key} must be {rule}")
