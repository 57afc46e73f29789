"""Where a data set keeps its parts: a folder of the usual names, or what a `data.yaml` says."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from trainable.data.absence import NOT_THERE, cause_at, cause_of, closed_folder
from trainable.data.annotations import MOST_CLASSES
from trainable.data.class_names import checked_names, names_file_of, read_names
from trainable.data.faults import DataError, Fault
from trainable.data.lists import IdList, list_of_folder, read_list
from trainable.shown import shown
from trainable.yaml_file import YamlError, read_yaml

_FOLDERS = ("before", "after", "labels")
_KEYS = ("path", *_FOLDERS, "names", "nc", "train", "val", "val_ratio", "seed")
OTHER_TOOLS_KEYS = ("test", "download", "roboflow", "license")
"""Keys that YOLO's own tools know in a `data.yaml`, and that are left alone here."""
_LISTED = "its ids, a file that lists them, or a folder of their images or labels"


@dataclass(frozen=True)
class Layout:
    """The folders of a data set, its names and how it is to be split."""

    before: Path
    after: Path
    labels: Path
    names: tuple[str, ...] | None = None
    """Class names by class id; None where the user gives none."""
    lists: tuple[IdList, IdList] | None = None
    """The user's own split into train and val; None to draw one."""
    val_ratio: float = 0.2
    """Share of the pairs that a drawn split gives to val, above 0 and below 1."""
    seed: int = 0
    """Of a drawn split."""


def read_layout(location: Path) -> Layout:
    """Finds the parts of a data set.

    Args:
        location: a folder that holds `before`, `after` and `labels`, or a YAML file with any of the keys `path` (that
            folder, relative to the file), `before`, `after`, `labels` (within `path`), `names` (a list, a mapping
            from class id, or a file of them within `path`), `nc` (how many), `train` and `val` (lists of ids or of
            paths of images, or files or folders of them within `path`), `val_ratio` and `seed`.
            A plain folder's names are in `classes.txt` (also found among the labels, where some tools leave it), its
            split in `train.txt` and `val.txt`, each one a line.

    Raises:
        DataError: naming every fault of the layout.
    """
    try:
        return _layout(location)
    except OSError as error:
        where = Path(error.filename or location)
        cause = cause_of(error, where)
        raise DataError([Fault("unusable path", str(where), None, cause.met, cause.advice)]) from None


def _layout(location: Path) -> Layout:
    faults: list[Fault] = []
    if location.is_dir():
        layout = _from_folder(location, faults)
    elif not location.exists():
        raise DataError([_missing_location(location)])
    else:
        layout = _from_yaml(location, faults)
    if not faults:
        faults = [fault for key in _FOLDERS if (fault := _folder_fault(key, getattr(layout, key)))]
    if faults:
        raise DataError(faults)
    return layout


def _missing_location(location: Path) -> Fault:
    cause = cause_at(location)
    if cause and cause.kind != NOT_THERE:
        return cause.fault("data", str(location))
    like = [place for place in _beside(location) if place.name.casefold() == location.name.casefold()]
    met = f"there is {like[0].name}" if like else ""
    return Fault("no such file or folder", str(location), None, met, "give a folder or a data.yaml")


def _folder_fault(key: str, folder: Path) -> Fault | None:
    """What is wrong with one of the three folders."""
    if folder.is_dir():
        try:
            with os.scandir(folder):
                return None
        except PermissionError as error:
            return closed_folder(folder, str(error.strerror))
    cause = cause_at(folder)
    if cause is None:
        return Fault("file in the place of a folder", str(folder), None, "", "put the folder there; unpack it first")
    if cause.kind != NOT_THERE:
        return cause.fault("folder", str(folder))
    beside = [place.name for place in _beside(folder) if place.is_dir()]
    like = next((name for name in beside if name.casefold() == folder.name.casefold()), None)
    if like:
        return Fault("missing folder", str(folder), None, f"there is {like}", f"rename it {folder.name}")
    met = f"there are {', '.join(beside[:6])}" if beside else "no folder is there"
    return Fault(
        "missing folder", str(folder), None, met, f"make it, or pass a data.yaml that says which one is `{key}`"
    )


def _beside(path: Path) -> list[Path]:
    """All that lies where a path would lie, hidden files and folders left out; nothing where that is no folder."""
    if not path.parent.is_dir():
        return []
    return sorted(other for other in path.parent.iterdir() if not other.name.startswith("."))


def _from_folder(root: Path, faults: list[Fault]) -> Layout:
    names_file = names_file_of(root, root / "labels")
    names = read_names(names_file, faults) if names_file else None
    files = root / "train.txt", root / "val.txt"
    lists = None
    if any(os.path.lexists(file) for file in files):
        train, val = (read_list(file, _other_list_advice(file), faults) for file in files)
        lists = train, val
    return Layout(root / "before", root / "after", root / "labels", names=names, lists=lists)


def _other_list_advice(file: Path) -> str:
    """What to do where only the other list is there."""
    others = ("valid", "validation", "test") if file.stem == "val" else ("training",)
    meant = [
        place.name
        for place in _beside(file)
        if place.suffix.lower() == ".txt" and place.stem.casefold() in (file.stem, *others)
    ]
    meant_here = f"rename {meant[0]}, if it is the one that is meant" if meant else "write it, or remove the other one"
    return f"train.txt and val.txt go together: {meant_here}"


def _from_yaml(file: Path, faults: list[Fault]) -> Layout:
    fields = _yaml_mapping(file)
    allowed = f"the keys are {', '.join(_KEYS)}"
    known = (*_KEYS, *OTHER_TOOLS_KEYS)
    faults += [Fault("unknown key", str(file), None, str(key)[:80], allowed) for key in fields if key not in known]
    root = _yaml_root(file, fields.get("path", "."), faults)
    before, after, labels = (_yaml_path(file, key, fields.get(key, key), root, faults) or root for key in _FOLDERS)
    return Layout(
        before=before,
        after=after,
        labels=labels,
        names=_yaml_names(file, fields, root, faults),
        lists=_yaml_lists(file, fields, root, labels, faults),
        val_ratio=_yaml_ratio(file, fields.get("val_ratio", Layout.val_ratio), faults),
        seed=_yaml_seed(file, fields.get("seed", Layout.seed), faults),
    )


def _yaml_mapping(file: Path) -> Mapping[Any, Any]:
    try:
        fields = read_yaml(file)
    except YamlError as error:
        advice = "give a folder or a data.yaml"
        raise DataError([Fault("not readable as YAML", str(file), None, str(error), advice)]) from None
    if not isinstance(fields, Mapping):
        raise DataError([_bad_value(file, "the file", fields, f"a mapping of {', '.join(_KEYS)}")])
    return fields


def _yaml_root(file: Path, value: Any, faults: list[Fault]) -> Path:
    try:
        root = file.parent / Path(value).expanduser()
    except (TypeError, RuntimeError):  # No text; the home of somebody who is not known here.
        faults.append(_bad_value(file, "path", value, "a path, as text"))
        return file.parent
    if not root.is_dir():
        met = f"path: {shown(value)}"
        advice = "path is the folder that holds before, after and labels, relative to this file; leave it out if they "
        faults.append(Fault("missing folder", str(file), None, met, f"{advice}lie beside the file"))
    return root


def _yaml_path(file: Path, key: str, value: Any, root: Path, faults: list[Fault]) -> Path | None:
    """A path below `root`: a data.yaml may come from anyone, and reads no files but those of its data set."""
    if not isinstance(value, str):
        faults.append(_bad_value(file, key, value, "a path, as text"))
        return None
    path = PurePath(value)
    if path.is_absolute() and path.is_relative_to(root.absolute()):
        path = path.relative_to(root.absolute())
    if "\\" in value and not (root / path).exists():  # As Windows writes it.
        path = PurePath(value.replace("\\", "/"))
    if path.is_absolute() or PureWindowsPath(value).drive or ".." in path.parts:
        advice = "a path within `path`, which may be any folder that holds them all"
        faults.append(Fault("path outside the data folder", str(file), None, f"{key}: {shown(value)}", advice))
        return None
    return root / path


def _yaml_names(file: Path, fields: Mapping[Any, Any], root: Path, faults: list[Fault]) -> tuple[str, ...] | None:
    names, count = _yaml_names_alone(file, fields, root, faults), fields.get("nc")
    if count is None:
        return names
    if isinstance(count, bool) or not isinstance(count, int) or not 0 < count <= MOST_CLASSES:
        faults.append(_bad_value(file, "nc", count, f"the number of classes, from 1 to {MOST_CLASSES}"))
    elif names is None:
        return tuple(map(str, range(count)))
    elif names and len(names) != count:
        faults.append(_bad_value(file, "nc", count, f"the number of names, which is {len(names)}, or left out"))
    return names


def _yaml_names_alone(file: Path, fields: Mapping[Any, Any], root: Path, faults: list[Fault]) -> tuple[str, ...] | None:
    if "names" not in fields:
        return None
    value = fields["names"]
    if isinstance(value, str) and value.endswith((".txt", ".names")):
        path = _yaml_path(file, "names", value, root, faults)
        return read_names(path, faults) if path else ()
    if isinstance(value, Mapping):
        if set(value) != set(range(len(value))) or bool in map(type, value):
            rule = "class ids from 0 up, none left out, each with its name"
            faults.append(_bad_value(file, "names", list(value), rule))
            return ()
        value = [value[class_id] for class_id in range(len(value))]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        faults.append(_bad_value(file, "names", value, "a list of texts (quote yes, no and numbers)"))
        return ()
    return checked_names([name.strip() for name in value], str(file), faults)


def _yaml_lists(
    file: Path, fields: Mapping[Any, Any], root: Path, labels: Path, faults: list[Fault]
) -> tuple[IdList, IdList] | None:
    if "train" not in fields and "val" not in fields:
        return None
    if "val_ratio" in fields or "seed" in fields:
        faults.append(
            _bad_value(file, "val_ratio, seed", "beside train, val", "left out where train and val are given")
        )
    train, val = (_yaml_list(file, key, fields.get(key), root, labels, faults) for key in ("train", "val"))
    return train, val


def _yaml_list(file: Path, key: str, value: Any, root: Path, labels: Path, faults: list[Fault]) -> IdList:
    if isinstance(value, str):
        path = _yaml_path(file, key, value, root, faults)
        return _yaml_list_at(file, key, path, root, labels, faults) if path else IdList(str(file), ())
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        faults.append(_bad_value(file, key, value, f"{_LISTED} (quote numbers)"))
        return IdList(str(file), ())
    return IdList(str(file), tuple((None, entry) for entry in value))


def _yaml_list_at(file: Path, key: str, path: Path, root: Path, labels: Path, faults: list[Fault]) -> IdList:
    """The list that a path gives: that of a file, or all that lies in a folder.

    YOLO's `images/train` stands for `labels/train`; its images are not needed here, where each is a pair.
    """
    if path.is_dir():
        return list_of_folder(path, root, faults)
    meant = labels.joinpath(*path.relative_to(root).parts[1:])
    if not path.suffix and not os.path.lexists(path) and meant != labels and meant.is_dir():
        return list_of_folder(meant, root, faults)
    return read_list(path, f"{key} is {_LISTED}: all within {shown(str(root))}", faults)


def _yaml_ratio(file: Path, value: Any, faults: list[Fault]) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        faults.append(_bad_value(file, "val_ratio", value, "a number above 0 and below 1"))
    return value


def _yaml_seed(file: Path, value: Any, faults: list[Fault]) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        faults.append(_bad_value(file, "seed", value, "a whole number, 0 or more"))
    return value


def _bad_value(file: Path, key: str, value: Any, rule: str) -> Fault:
    return Fault("wrong value", str(file), None, f"{key}: {shown(value)}", f"{key} must be {rule}")
