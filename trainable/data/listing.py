"""What lies below a folder: the files that count by their id, and all else that a user may have meant to count."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
LABEL_SUFFIXES = (".txt",)
UNREAD_IMAGE_SUFFIXES = (
    *(".apng", ".arw", ".avif", ".cr2", ".cr3", ".dng", ".emf", ".eps", ".exr", ".hdr", ".heic", ".heif", ".ico"),
    *(".jfif", ".jp2", ".jpe", ".jxl", ".mpo", ".nef", ".npy", ".orf", ".pdf", ".pfm", ".pnm", ".psd", ".raw", ".svg"),
    *(".tga", ".wmf"),
)
"""Images, too, but of formats or names that are not read."""


@dataclass(frozen=True)
class Listing:
    """All that lies below a folder, whatever it is; hidden files and folders are left out, and links to folders are not
    followed."""

    folder: Path
    entries: tuple[Path, ...]
    """Files, folders and links, sorted."""
    closed: tuple[tuple[Path, str], ...]
    """Folders that cannot be looked into, and why."""
    linked: tuple[Path, ...]
    """Links to folders."""

    @classmethod
    def of(cls, folder: Path) -> "Listing":
        """Looks through the folder with all its folders; what cannot be looked into is told, not raised."""
        entries: list[Path] = []
        closed: list[tuple[Path, str]] = []
        linked: list[Path] = []

        def cannot(error: OSError) -> None:
            closed.append((Path(error.filename), error.strerror or str(error)))

        for place, folders, files in os.walk(folder, onerror=cannot):
            # Some systems put a `._name.png` beside every `name.png`.
            folders[:] = [name for name in folders if not name.startswith(".")]
            linked += [path for path in (Path(place, name) for name in folders) if _is_link(path)]
            entries += [Path(place, name) for name in (*folders, *files) if not name.startswith(".")]
        return cls(folder, tuple(sorted(entries)), tuple(closed), tuple(sorted(linked)))

    def ids(self) -> Iterator[tuple[str, Path]]:
        """Every entry with its `id_of_file`."""
        return ((id_of_file(path, self.folder), path) for path in self.entries)

    def files_by_id(self, suffixes: Iterable[str]) -> dict[str, list[Path]]:
        """The files of these suffixes, by their `id_of_file`.

        Args:
            suffixes: in small letters, with the dot; those of the files may be in capitals.
        """
        found = defaultdict(list)
        for path in self.entries:
            if path.suffix.lower() in suffixes and is_file(path):
                found[id_of_file(path, self.folder)].append(path)
        return dict(found)


def id_of_file(path: Path, folder: Path) -> str:
    """The path of a file below a folder, without suffix, with forward slashes."""
    return path.relative_to(folder).with_suffix("").as_posix()


def files_by_id(folder: Path, suffixes: tuple[str, ...]) -> dict[str, list[Path]]:
    """`Listing.files_by_id` of a folder."""
    return Listing.of(folder).files_by_id(suffixes)


def seen_in(folder: Path) -> list[Path]:
    """All that lies in a folder itself, sorted, but for hidden files and folders; nothing where nobody may look."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def is_file(path: Path) -> bool:
    """Whether a file lies at a path; False, too, where nobody may look."""
    try:
        return path.is_file()
    except OSError:  # It lies in a folder of which the names may be read and nothing else.
        return False


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False
