"""Files that are whole whatever happens: what a kill or a power cut must not halve, empty or damage unseen."""

import os
import zlib
from pathlib import Path

_BLOCK_BYTES = 1 << 20


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replaces a file in one step, so that a reader or a crash sees the old content or the new, never half.

    Args:
        path: the file, in a folder that exists.
        content: all of it; a text is written as UTF-8.

    Raises:
        OSError: it cannot be written; the old file stays.
        UnicodeEncodeError: the text is none that UTF-8 can hold.
    """
    data = content.encode() if isinstance(content, str) else content
    scratch = path.with_name(path.name + ".tmp")
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def wait_for_disk(path: Path) -> None:
    """Waits until a file or folder is on the disk and not only in its cache: a power cut must not empty it.

    Raises:
        OSError: it is not there, or the disk does not take it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def checksum(path: Path) -> int:
    """CRC-32 of a file's bytes.

    Raises:
        OSError: it cannot be read.
    """
    value = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            value = zlib.crc32(block, value)
    return value


def is_sound(path: Path, expected: int) -> bool:
    """Whether a file can be read and has this checksum."""
    try:
        return checksum(path) == expected
    except OSError:
        return False
