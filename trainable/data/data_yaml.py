"""A `data.yaml`: what each of its keys says of a data set, written as here or as YOLO's own tools write it."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from trainable.data.annotations import MOST_CLASSES
from trainable.data.class_names import checked_names, read_names
from trainable.data.faults import DataError, Fault
from trainable.data.lists import IdList, list_of_folder, read_list
from trainable.text.shown import shown
from trainable.text.validation import BrokenRule, broken_rules, rule
from trainable.text.yaml_file import YamlError, read_yaml

_OTHER_TOOLS_KEYS = ("test", "download", "roboflow", "license")
_LISTED = "its ids, a file that lists them, or a folder of their images or labels"
_LIST_RULE = f"should be {_LISTED} (quote numbers)"


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)


def _are_names(value: Any) -> bool:
    if isinstance(value, dict):
        ids_fit = set(value) == set(range(len(value))) and bool not in map(type, value)
        return ids_fit and _are_texts(list(value.values()))
    return _are_texts(value) or (isinstance(value, str) and value.endswith((".txt", ".names")))


_NAMES_RULE = rule(
    _are_names,
    "should be a list of texts (quote yes, no and numbers), a mapping of them by class ids from 0 up, none left out, "
    "or a .txt or .names file of them",
)
_List = Annotated[Any, rule(lambda value: isinstance(value, str) or _are_texts(value), _LIST_RULE)]


class _Keys(BaseModel):
    """The keys of a `data.yaml` and the rules of each alone."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    path: str = "."
    before: str = "before"
    after: str = "after"
    labels: str = "labels"
    names: Annotated[Any, _NAMES_RULE] = None
    nc: Annotated[int, Field(ge=1, le=MOST_CLASSES)] | None = None
    train: _List = None
    val: _List = None
    val_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0


_RULES = TypeAdapter(_Keys)


@dataclass(frozen=True)
class DataYaml:
    """What a `data.yaml` says."""

    file: Path
    keys: _Keys
    """Those that are wrong are left out."""
    root: Path
    """The folder that all its paths are within."""
    keys_left_alone: tuple[str, ...]
    """Its keys that mean something to other tools alone."""
    faults: list[Fault]
    """What is wrong is added to them, and a value that can stand in its place is given."""

    @classmethod
    def read(cls, file: Path, faults: list[Fault]) -> "DataYaml":
        """Reads the file, and checks its keys.

        Raises:
            DataError: it is no mapping in YAML.
        """
        plain = _mapping(file)
        given = {key: value for key, value in plain.items() if key not in _OTHER_TOOLS_KEYS}
        broken = broken_rules(_RULES, given)
        faults += [_fault(file, *one) for one in [*broken, *_broken_together(given)]]
        sound = given.keys() & _Keys.model_fields.keys() - {place for place, _, _ in broken}
        keys = _Keys(**{key: given[key] for key in sound})
        left_alone = tuple(key for key in _OTHER_TOOLS_KEYS if key in plain)
        return cls(file, keys, _root(file, keys.path, faults), left_alone, faults)

    def folder(self, key: str) -> Path:
        """One of the three folders; by default it is called as its key."""
        return self._path(key, getattr(self.keys, key)) or self.root

    def names(self) -> tuple[tuple[str, ...] | None, Path | None]:
        """The class names and the file that gives them; None for what is not given. `nc` alone makes them numbers."""
        names, source = (None, None) if self.keys.names is None else self._names()
        count = self.keys.nc
        if count is not None and names is None:
            return tuple(map(str, range(count))), None
        if count is not None and names and len(names) != count:
            rule = f"should be the number of names, which is {len(names)}, or left out"
            self.faults.append(_fault(self.file, "nc", rule, str(count)))
        return names, source

    def lists(self, labels: Path) -> tuple[IdList, IdList] | None:
        """The user's own train and val; None where they give none.

        Args:
            labels: the folder of labels.
        """
        if self.keys.train is None and self.keys.val is None:
            return None
        return self._list("train", labels), self._list("val", labels)

    def split(self) -> dict[str, Any]:
        """What it says of a drawn split: `val_ratio` and `seed`, where they are given."""
        return self.keys.model_dump(include={"val_ratio", "seed"}, exclude_unset=True)

    def _path(self, key: str, value: str) -> Path | None:
        """A path below `root`: a data.yaml may come from anyone, and reads no files but those of its data set."""
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
        value = self.keys.names
        if isinstance(value, str):
            path = self._path("names", value)
            return (read_names(path, self.faults), path) if path else ((), self.file)
        names = value if isinstance(value, list) else [value[class_id] for class_id in range(len(value))]
        return checked_names([name.strip() for name in names], str(self.file), self.faults), self.file

    def _list(self, key: str, labels: Path) -> IdList:
        value = getattr(self.keys, key)
        if isinstance(value, str) and (path := self._path(key, value)):
            return self._list_at(key, path, labels)
        entries = value if isinstance(value, list) else []
        return IdList(str(self.file), tuple((None, entry) for entry in entries))

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


def _broken_together(given: Mapping[Any, Any]) -> Iterator[BrokenRule]:
    """The rules of several keys, asked of what is written, be it sound in itself or not."""
    missing = [key for key in ("train", "val") if key not in given]
    if len(missing) == 1:
        yield BrokenRule(missing[0], _LIST_RULE, "None")
    if len(missing) < 2 and given.keys() & {"val_ratio", "seed"}:
        yield BrokenRule("val_ratio, seed", "should be left out where train and val are given", "'beside train, val'")


def _mapping(file: Path) -> Mapping[Any, Any]:
    try:
        fields = read_yaml(file)
    except YamlError as error:
        advice = "give a folder or a data.yaml"
        raise DataError([Fault("not readable as YAML", str(file), None, str(error), advice)]) from None
    if not isinstance(fields, Mapping):
        rule = f"should be a mapping of {', '.join(_Keys.model_fields)}"
        raise DataError([_fault(file, "the file", rule, shown(fields))])
    return fields


def _root(file: Path, value: str, faults: list[Fault]) -> Path:
    try:
        root = file.parent / Path(value).expanduser()
    except RuntimeError:  # The home of somebody who is not known here.
        faults.append(_fault(file, "path", "should be a path that is there", shown(value)))
        return file.parent
    if not root.is_dir():
        advice = (
            "path is the folder that holds before, after and labels, relative to this file; leave it out if they lie "
            "beside the file"
        )
        faults.append(Fault("missing folder", str(file), None, f"path: {shown(value)}", advice))
    return root


def _fault(file: Path, key: str, rule: str, value: str | None) -> Fault:
    if value is None:
        return Fault("unknown key", str(file), None, key, f"the keys are {', '.join(_Keys.model_fields)}")
    return Fault("wrong value", str(file), None, f"{key}: {value}", f"{key} {rule}")
