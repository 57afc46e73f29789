"""Text files as editors of all systems write them."""

from pathlib import Path


def read_text(path: Path) -> str:
    r"""What a UTF-8 file holds, without its byte-order mark if it has one, and with `\n` at the end of every line.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not UTF-8 (UnicodeDecodeError), or no file can have this path.
    """
    return text_of(path.read_bytes())


def text_of(content: bytes) -> str:
    """The same of a file's contents.

    (`Path.read_text` with `utf-8-sig` takes the first bytes of a mark that was cut off for an empty file.)

    Raises:
        UnicodeDecodeError: they are not UTF-8.
    """
    return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
