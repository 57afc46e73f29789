"""Where a data set keeps its parts: a folder of the usual names, or what a `data.yaml` says."""

import os
from dataclasses import dataclass
from pathlib import Path

from trainable.data.absence import NOT_THERE, cause_at, cause_of, closed_folder
from trainable.data.class_names import names_file_of, read_names
from trainable.data.data_yaml import DataYaml
from trainable.data.faults import DataError, Fault
from trainable.data.listing import seen_in
from trainable.data.lists import IdList, read_list

_FOLDERS = ("before", "after", "labels")


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
    """Seed of a drawn split."""
    root: Path = Path()
    """The folder that holds all of it."""
    yaml: Path | None = None
    """The `data.yaml`, where there is one."""
    names_from: Path | None = None
    """The file that gives the names; None where none does, though their number may be given."""
    keys_left_alone: tuple[str, ...] = ()
    """Keys of the `data.yaml` that mean something to other tools alone."""

    @property
    def yaml_name(self) -> str:
        """The name of the `data.yaml`; empty where there is none."""
        return self.yaml.name if self.yaml else ""


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
    like = [place for place in seen_in(location.parent) if place.name.casefold() == location.name.casefold()]
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
    beside = [place.name for place in seen_in(folder.parent) if place.is_dir()]
    like = next((name for name in beside if name.casefold() == folder.name.casefold()), None)
    if like:
        return Fault("missing folder", str(folder), None, f"there is {like}", f"rename it {folder.name}")
    met = f"there are {', '.join(beside[:6])}" if beside else "no folder is there"
    return Fault(
        "missing folder", str(folder), None, met, f"make it, or pass a data.yaml that says which one is `{key}`"
    )


def _from_folder(root: Path, faults: list[Fault]) -> Layout:
    names_file = names_file_of(root, root / "labels")
    names = read_names(names_file, faults) if names_file else None
    files = root / "train.txt", root / "val.txt"
    lists = None
    if any(os.path.lexists(file) for file in files):
        train, val = (read_list(file, _other_list_advice(file), faults) for file in files)
        lists = train, val
    before, after, labels = (root / key for key in _FOLDERS)
    return Layout(before, after, labels, names=names, lists=lists, root=root, names_from=names_file)


def _other_list_advice(file: Path) -> str:
    """What to do where only the other list is there."""
    others = ("valid", "validation", "test") if file.stem == "val" else ("training",)
    meant = [
        place.name
        for place in seen_in(file.parent)
        if place.suffix.lower() == ".txt" and place.stem.casefold() in (file.stem, *others)
    ]
    meant_here = f"rename {meant[0]}, if it is the one that is meant" if meant else "write it, or remove the other one"
    return f"train.txt and val.txt go together: {meant_here}"


def _from_yaml(file: Path, faults: list[Fault]) -> Layout:
    yaml = DataYaml.read(file, faults)
    before, after, labels = (yaml.folder(key) for key in _FOLDERS)
    names, names_from = yaml.names()
    return Layout(
        before=before,
        after=after,
        labels=labels,
        names=names,
        lists=yaml.lists(labels),
        **yaml.split(),
        root=yaml.root,
        yaml=file,
        names_from=names_from,
        keys_left_alone=yaml.keys_left_alone,
    )
