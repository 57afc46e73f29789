"""Where a data set keeps its parts: a folder of the usual names, or what a `data.yaml` says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from trainable.data.faults import DataError, Fault
from trainable.shown import is_plain, shown
from trainable.text_file import read_text
from trainable.yaml_file import YamlError, read_yaml

_FOLDERS = ("before", "after", "labels")
_KEYS = ("path", *_FOLDERS, "names", "train", "val", "val_ratio", "seed")


@dataclass(frozen=True)
class IdList:
    """The ids that the user chose for one side of the split."""

    file: str
    """Where they are written."""
    ids: tuple[tuple[int | None, str], ...]
    """Line of the file (None in a `data.yaml`) and id."""


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
            folder, relative to the file), `before`, `after`, `labels` (within `path`), `names` (a list, or a mapping
            from class id), `train` and `val` (lists of ids, or files of them within `path`), `val_ratio` and `seed`.
            A plain folder's names are in `classes.txt` (also found among the labels, where some tools leave it), its
            split in `train.txt` and `val.txt`, each one a line.

    Raises:
        DataError: naming every fault of the layout.
    """
    try:
        return _layout(location)
    except OSError as error:
        advice = "give a folder or a data.yaml that you may read"
        where = str(error.filename or location)
        raise DataError([Fault("unusable path", where, None, error.strerror or str(error), advice)]) from None


def _layout(location: Path) -> Layout:
    faults: list[Fault] = []
    if location.is_dir():
        layout = _from_folder(location, faults)
    elif not location.exists():
        raise DataError([Fault("no such file or folder", str(location), None, "", "give a folder or a data.yaml")])
    else:
        layout = _from_yaml(location, faults)
    if not faults:
        faults = [
            Fault("missing folder", str(folder), None, "", "make it, or pass a data.yaml that says where it is")
            for folder in (layout.before, layout.after, layout.labels)
            if not folder.is_dir()
        ]
    if faults:
        raise DataError(faults)
    return layout


def _from_folder(root: Path, faults: list[Fault]) -> Layout:
    names = None
    names_file = next(
        (file for file in (root / "classes.txt", root / "labels" / "classes.txt") if file.is_file()), None
    )
    if names_file:
        names = _checked_names([text for _, text in _lines(names_file, faults)], str(names_file), faults)
    files = root / "train.txt", root / "val.txt"
    lists = None
    if any(file.exists() for file in files):
        lists = _id_list(files[0], faults), _id_list(files[1], faults)
    return Layout(root / "before", root / "after", root / "labels", names=names, lists=lists)


def _from_yaml(file: Path, faults: list[Fault]) -> Layout:
    fields = _yaml_mapping(file)
    allowed = f"the keys are {', '.join(_KEYS)}"
    faults += [Fault("unknown key", str(file), None, str(key)[:80], allowed) for key in fields if key not in _KEYS]
    root = _yaml_root(file, fields.get("path", "."), faults)
    before, after, labels = (_yaml_path(file, key, fields.get(key, key), root, faults) or root for key in _FOLDERS)
    return Layout(
        before=before,
        after=after,
        labels=labels,
        names=_yaml_names(file, fields["names"], faults) if "names" in fields else None,
        lists=_yaml_lists(file, fields, root, faults),
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
        return file.parent / Path(value).expanduser()
    except (TypeError, RuntimeError):  # No text; the home of somebody who is not known here.
        faults.append(_bad_value(file, "path", value, "a path, as text"))
        return file.parent


def _yaml_path(file: Path, key: str, value: Any, root: Path, faults: list[Fault]) -> Path | None:
    """A path below `root`: a data.yaml may come from anyone, and reads no files but those of its data set."""
    if not isinstance(value, str):
        faults.append(_bad_value(file, key, value, "a path, as text"))
        return None
    if PurePath(value).is_absolute() or ".." in PurePath(value).parts:
        advice = "a path within `path`, which may be any folder that holds them all"
        faults.append(Fault("path outside the data folder", str(file), None, f"{key}: {shown(value)}", advice))
        return None
    return root / value


def _yaml_names(file: Path, value: Any, faults: list[Fault]) -> tuple[str, ...]:
    if isinstance(value, Mapping):
        if set(value) != set(range(len(value))) or bool in map(type, value):
            rule = "class ids from 0 up, none left out, each with its name"
            faults.append(_bad_value(file, "names", list(value), rule))
            return ()
        value = [value[class_id] for class_id in range(len(value))]
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        faults.append(_bad_value(file, "names", value, "a list of texts (quote yes, no and numbers)"))
        return ()
    return _checked_names([name.strip() for name in value], str(file), faults)


def _yaml_lists(file: Path, fields: Mapping[Any, Any], root: Path, faults: list[Fault]) -> tuple[IdList, IdList] | None:
    if "train" not in fields and "val" not in fields:
        return None
    if "val_ratio" in fields or "seed" in fields:
        faults.append(
            _bad_value(file, "val_ratio, seed", "beside train, val", "left out where train and val are given")
        )
    return _yaml_list(file, "train", fields, root, faults), _yaml_list(file, "val", fields, root, faults)


def _yaml_list(file: Path, key: str, fields: Mapping[Any, Any], root: Path, faults: list[Fault]) -> IdList:
    value = fields.get(key)
    if isinstance(value, str):
        path = _yaml_path(file, key, value, root, faults)
        return _id_list(path, faults) if path else IdList(str(file), ())
    if not isinstance(value, list) or not all(isinstance(id_, str) for id_ in value):
        faults.append(_bad_value(file, key, value, "a list of ids (quote numbers) or the file that lists them"))
        return IdList(str(file), ())
    return IdList(str(file), tuple((None, id_) for id_ in value))


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


def _id_list(file: Path, faults: list[Fault]) -> IdList:
    return IdList(str(file), tuple((number, text) for number, text in _lines(file, faults) if text))


def _lines(file: Path, faults: list[Fault]) -> list[tuple[int, str]]:
    """Number and stripped text of every line, without the blank ones at the end; none where the file is unreadable."""
    try:
        text = read_text(file).rstrip()
    except (OSError, ValueError) as error:  # The latter also for a path that no file can have.
        advice = (
            "train.txt and val.txt go together" if isinstance(error, FileNotFoundError) else "save it as UTF-8 text"
        )
        reason = getattr(error, "strerror", None) or str(error)
        faults.append(Fault("unreadable list", str(file), None, reason, advice))
        return []
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)] if text else []


def _checked_names(names: list[str], file: str, faults: list[Fault]) -> tuple[str, ...]:
    if not names:
        faults.append(Fault("no names", file, None, "", "list the names of the classes in the order of their ids"))
    first_ids: dict[str, int] = {}
    for class_id, name in enumerate(names):
        if not name:
            advice = "give every class id a name; a gap would shift the ones after it"
            faults.append(Fault("empty name", file, None, f"class id {class_id}", advice))
        elif (first := first_ids.setdefault(name, class_id)) != class_id:
            advice = f"class id {first} has that name already; tell them apart"
            faults.append(Fault("repeated name", file, None, name[:80], advice))
        elif not is_plain(name):
            advice = "names are shown in tables and on terminals; take the control characters out"
            faults.append(Fault("name that cannot be shown", file, None, shown(name), advice))
    return tuple(names)
