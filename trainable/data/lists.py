"""The lists of a user's own split: ids or paths of images, one a line, or a folder of them."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainable.data.absence import LFS_POINTER, NOT_THERE, cause_of, closed_folder, is_lfs_pointer
from trainable.data.faults import Fault
from trainable.data.listing import IMAGE_SUFFIXES, LABEL_SUFFIXES, UNREAD_IMAGE_SUFFIXES, Listing
from trainable.text.text_file import read_text

_SUFFIXES = (*IMAGE_SUFFIXES, *UNREAD_IMAGE_SUFFIXES, *LABEL_SUFFIXES)


@dataclass(frozen=True)
class IdList:
    """What the user chose for one side of the split."""

    file: str
    """Where it is written; the folder, where it is all that lies in one."""
    entries: tuple[tuple[int | None, str], ...]
    """Line of the file (None where there is none to name) and what stands there, see `id_of_entry`."""
    of_folder: bool = False
    """Whether it is all that lies in a folder, where an image and its label file mean the same id."""


def id_of_entry(entry: str, ids: Collection[str]) -> str | None:
    r"""The id that an entry of a list means: its own, or that of the image or label file whose path it is.

    Lists come from other tools and machines: `C:\yard\images\night\1.jpg`, `/home/me/images/night/1.jpg` and
    `./images/night/1.jpg` all mean `night/1`, the longest end of the path that is an id. Nothing is opened.

    Args:
        entry: as it is written.
        ids: those that there are.
    """
    return next((id_ for id_ in possible_ids(entry) if id_ in ids), None)


def possible_ids(entry: str) -> Iterator[str]:
    """What ids an entry of a list may mean, the likeliest first, see `id_of_entry`."""
    yield entry
    path = PurePosixPath(entry.replace("\\", "/"))
    if path.suffix.lower() not in _SUFFIXES:
        yield path.as_posix()
        return
    parts = path.with_suffix("").parts
    yield from ("/".join(parts[first:]) for first in range(len(parts)))


def read_list(file: Path, advice: str, faults: list[Fault]) -> IdList:
    """The entries of a file, one a line.

    Args:
        file: the list.
        advice: what to do where there is no such file.
        faults: what is wrong with it is added to them.
    """
    return IdList(str(file), tuple((number, text) for number, text in lines_of(file, faults, advice) if text))


def list_of_folder(folder: Path, root: Path, faults: list[Fault]) -> IdList:
    """All images and label files below a folder, as paths within `root`; folders that cannot be read are faults."""
    listing = Listing.of(folder)
    faults += [closed_folder(path, reason) for path, reason in listing.closed]
    entries = (
        path.relative_to(root).as_posix()
        for path in listing.entries
        if path.suffix.lower() in _SUFFIXES and path.name.casefold() != "classes.txt" and not path.is_dir()
    )
    return IdList(str(folder), tuple((None, entry) for entry in entries), of_folder=True)


def lines_of(file: Path, faults: list[Fault], advice: str = "check the path") -> list[tuple[int, str]]:
    """Number and stripped text of every line, without the blank ones at the end; none where the file is unreadable.

    Args:
        file: a text file.
        faults: why it is unreadable is added to them.
        advice: what to do where there is no such file.
    """
    try:
        text = read_text(file).rstrip()
    except OSError as error:
        cause = cause_of(error, file)
        missing = Fault("missing list", str(file), None, cause.met, advice)
        faults.append(missing if cause.kind == NOT_THERE else cause.fault("list", str(file)))
        return []
    except ValueError as error:  # Also for a path that no file can have.
        faults.append(Fault("unreadable list", str(file), None, str(error), "save it as UTF-8 text"))
        return []
    if is_lfs_pointer(text.encode()):
        faults.append(LFS_POINTER.fault("list", str(file)))
        return []
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)] if text else []
