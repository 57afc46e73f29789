"""Which files of a data set belong together: by their path below their folder, without suffix, which is their id."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trainable.data.faults import Fault
from trainable.data.layout import Layout

PICTURE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@dataclass(frozen=True)
class PairFiles:
    """Every label file and picture of a data set by id. More than one of a kind for one id is a fault, told later."""

    labels: Mapping[str, list[Path]]
    before: Mapping[str, list[Path]]
    after: Mapping[str, list[Path]]

    @classmethod
    def found(cls, layout: Layout) -> "PairFiles":
        """Looks through the three folders; a `classes.txt` at the top of the labels is no label file."""
        labels = files_by_id(layout.labels, (".txt",))
        labels.pop("classes", None)
        before, after = (files_by_id(folder, PICTURE_SUFFIXES) for folder in (layout.before, layout.after))
        return cls(labels, before, after)

    def pictures_without_label(self) -> list[Fault]:
        """A fault for every id that has a picture and no label file."""
        advice = "add its label file; an empty one if nothing moved"
        return [
            Fault("picture without a label file", str((self.before.get(id_) or self.after[id_])[0]), None, id_, advice)
            for id_ in sorted((self.before.keys() | self.after.keys()) - self.labels.keys())
        ]


def linked_folders(layout: Layout) -> list[Fault]:
    """A fault for every link to a folder below the three folders: nobody looks for pairs behind it."""
    advice = "put the folder itself there, or links to its files; before, after and labels themselves may be links"
    return [
        Fault("link to a folder", str(path), None, "", advice)
        for folder in (layout.before, layout.after, layout.labels)
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() and path.is_dir() and not _is_hidden(path, folder)
    ]


def files_by_id(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """Files below the folder, by their path in it without suffix.

    Hidden ones are left out: some systems put a `._name.png` beside every `name.png`.

    Args:
        folder: looked through with all its folders.
        suffixes: in small letters, with the dot; those of the files may be in capitals.
    """
    found = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and not _is_hidden(path, folder) and path.is_file():
            found[path.relative_to(folder).with_suffix("").as_posix()].append(path)
    return dict(found)


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)
