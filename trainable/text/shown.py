"""What users' files hold, as a message may show it: short, on one line, and harmless to a terminal."""

import reprlib
import unicodedata

MOST = 120
"""Characters of a value that is shown."""

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 3, 60, 40, 60


def shown(value: object) -> str:
    """A value as Python writes it, with what is long or deep left out."""
    text = printable(_SHORT.repr(value))
    return text if len(text) <= MOST else f"{text[: MOST - 3]}..."


def printable(text: str) -> str:
    """The text on one line, with control characters and the undecodable bytes of file names escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def printable_lines(text: str) -> str:
    """The same of each line of a text, which keeps its lines."""
    return "\n".join(map(printable, text.split("\n")))


def is_plain(text: str) -> bool:
    """Whether a text has no control characters, line breaks among them, and no undecodable bytes.

    Less is asked than that all of it is printable: file names hold spaces of many kinds, and joined emoji.
    """
    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in text)
