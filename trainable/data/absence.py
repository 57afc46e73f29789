"""Why a file that is looked for does not count, although something of the kind is there; told before it is called
missing."""

import errno
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from trainable.data.faults import Fault
from trainable.data.listing import IMAGE_SUFFIXES, Listing, id_of_file

_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_FEW = 3
"""Files of one name in other folders that are named."""


@dataclass(frozen=True)
class Cause:
    """Why something does not count."""

    kind: str
    """What is told of it, as in "is a folder"; the same for every file of which it is true."""
    met: str
    """What is there."""
    advice: str

    def fault(self, what: str, file: str, line: int | None = None) -> Fault:
        """The fault of a thing.

        Args:
            what: is told of, as in "label file".
            file: as `Fault` takes it, as is `line`.
        """
        return Fault(f"{what} {self.kind}", file, line, self.met, self.advice)


NOT_THERE, FOLDER = "is not there", "is a folder"
"""The `Cause.kind` where there is nothing, and where there is a folder."""

LFS_POINTER = Cause("is a Git LFS pointer", "", "fetch the file itself: git lfs pull, in the clone it came with")


def is_lfs_pointer(content: bytes) -> bool:
    """Whether a file's content stands for that of another, which Git keeps elsewhere."""
    return content.startswith(_LFS_POINTER)


def cause_at(path: Path) -> Cause | None:
    """Why nothing can be read of a path, or nothing of use; None where a file lies there that holds something else."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return _folder_at(path)
        if not stat.S_ISREG(mode):
            return Cause("is no regular file", stat.filemode(mode), "put a file in its place")
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError as error:
        return cause_of(error, path)
    except ValueError as error:
        return Cause("has a name that no file can have", str(error), "correct the name")
    if is_lfs_pointer(start):
        return LFS_POINTER
    return None if start else Cause("is an empty file", "0 bytes", "copy it here once more; the copy was cut off")


def cause_of(error: OSError, path: Path) -> Cause:
    """Why the system refused to read a path."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP) and path.is_symlink():
        if error.errno == errno.ELOOP:
            return Cause("is a link to itself", f"-> {path.readlink()}", "put the file itself there")
        advice = "mend the link (is its disk mounted?), or put the file itself there"
        return Cause("is a link to nowhere", f"-> {path.readlink()}", advice)
    if error.errno in (errno.EACCES, errno.EPERM):
        return Cause("may not be read", str(error.strerror), _readable(_folder_in_the_way(path)))
    if error.errno == errno.EISDIR:
        return _folder_at(path)
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Cause(NOT_THERE, "", "check the path")
    return Cause("cannot be read", error.strerror or str(error), "check the disk or share that it lies on")


class Neighbours:
    """What lies below a folder and may be what was meant by an id.

    Args:
        listing: of the folder.
        suffixes: of the files that count, in small letters with the dot.
        advice_on_suffix: what to do with a file of another one.
        taken: ids whose files go with others, and are not meant by any other id.
    """

    def __init__(self, listing: Listing, suffixes: tuple[str, ...], advice_on_suffix: str, taken: Container[str] = ()):
        self._listing, self._suffixes, self._advice_on_suffix = listing, suffixes, advice_on_suffix
        self._taken = taken

    def cause(self, *ids: str) -> Cause | None:
        """Why no file counts for an id; None where there is nothing like it.

        Args:
            ids: for none of which a file counts; where there are several, any of them may be meant.
        """
        looks = (self._same_path, self._kept_suffix, self._other_spelling, self._behind, self._elsewhere)
        return next((cause for look in looks for id_ in ids if (cause := look(id_))), None)

    @cached_property
    def _by_id(self) -> Mapping[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        for path in self._listing.entries:
            found[id_of_file(path, self._listing.folder)].append(path)
        return dict(found)

    @cached_property
    def _by_spelling(self) -> Mapping[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        for id_, paths in self._by_id.items():
            found[_folded(id_)] += paths
        return dict(found)

    @cached_property
    def _by_name(self) -> Mapping[str, list[Path]]:
        found: dict[str, list[Path]] = defaultdict(list)
        for id_, paths in self._by_id.items():
            if id_ not in self._taken:
                found[_folded(PurePosixPath(id_).name)] += [path for path in paths if self._counts(path)]
        return dict(found)

    def _same_path(self, id_: str) -> Cause | None:
        for path in self._by_id.get(id_, []):
            if self._counts(path):
                cause = cause_at(path)
                return Cause(cause.kind, f"{self._shown(path)} {cause.met}".strip(), cause.advice) if cause else None
        for path in self._by_id.get(id_, []):
            if not path.is_dir():
                kind = "has a suffix that is not read" if path.suffix else "has no suffix"
                return Cause(kind, self._shown(path), self._advice_on_suffix)
        return None

    def _kept_suffix(self, id_: str) -> Cause | None:
        """Of `a.jpg` with a label file `a.jpg.txt`, whichever of them is looked for."""
        whole = PurePosixPath(id_)
        others = [path for path in self._by_id.get(whole.with_suffix("").as_posix(), []) if path.suffix == whole.suffix]
        others += [path for ending in IMAGE_SUFFIXES for path in self._by_id.get(id_ + ending, [])]
        for path in filter(self._counts, others):
            advice = "leave the image's suffix out of the label file's name: a.txt goes with a.jpg"
            return Cause("has the image's suffix and another one", self._shown(path), advice)
        return None

    def _other_spelling(self, id_: str) -> Cause | None:
        for path in self._by_spelling.get(_folded(id_), []):
            if self._counts(path) and id_of_file(path, self._listing.folder) not in self._taken:
                other, wanted = id_of_file(path, self._listing.folder), unicodedata.normalize("NFC", id_)
                if unicodedata.normalize("NFC", other) == wanted:
                    met = f"{self._shown(path)} in {_form(other)}, {id_} in {_form(id_)}"
                    advice = "rename one: they look alike, but are other characters (convmv --nfc does it to a folder)"
                    return Cause("is named in another Unicode form", met, advice)
                return Cause(
                    "is named in another case", self._shown(path), f"rename it or the others: {id_} is looked for"
                )
        return None

    def _behind(self, id_: str) -> Cause | None:
        closed = dict(self._listing.closed)
        for parent in PurePosixPath(id_).parents:
            folder = self._listing.folder / parent
            if folder in closed:
                advice = f"let yourself read it: chmod -R u+rX {folder}, or ask its owner"
                return Cause(
                    "may lie in a folder that cannot be read", f"{self._shown(folder)}: {closed[folder]}", advice
                )
            if folder in self._listing.linked:
                advice = "put the folder itself there, or links to its files"
                return Cause("may lie behind a link to a folder, which is not followed", self._shown(folder), advice)
        return None

    def _elsewhere(self, id_: str) -> Cause | None:
        paths = self._by_name.get(_folded(PurePosixPath(id_).name), [])
        if not paths:
            return None
        more = f" and {len(paths) - _FEW} more" if len(paths) > _FEW else ""
        met = ", ".join(map(self._shown, paths[:_FEW])) + more
        advice = "the files of a pair lie in folders of the same names below before, after and labels"
        return Cause("lies in another folder", met, advice)

    def _counts(self, path: Path) -> bool:
        return path.suffix.lower() in self._suffixes

    def _shown(self, path: Path) -> str:
        return (self._listing.folder.name / path.relative_to(self._listing.folder)).as_posix()


def closed_folder(folder: Path, reason: str) -> Fault:
    """The fault of a folder that cannot be looked into."""
    return Fault("folder that cannot be read", str(folder), None, reason, _readable(folder))


def _folder_in_the_way(path: Path) -> Path:
    """The first folder on the way to a path that may not be entered; the one that it lies in, where all may."""
    for place in (*reversed(path.parents), path):
        try:
            place.stat()
        except PermissionError:
            return place.parent
    return path if path.is_dir() else path.parent


def _readable(folder: Path) -> str:
    return f"let yourself read it: chmod -R u+rX {folder}, or ask its owner"


def _folder_at(path: Path) -> Cause:
    return Cause(FOLDER, path.name, "put a file in its place, or rename the folder")


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _form(text: str) -> str:
    return next((form for form in ("NFC", "NFD") if unicodedata.is_normalized(form, text)), "a mixed form")
