"""What commands print: a side effect that ends none of them, and that takes nobody's names for markup.

Whatever the output is, a command goes on: what an encoding has no character for is written in another way, and an
output that can no longer be written, a pipe whose reader left or a file on a full disk, is switched off.
"""

import codecs
import contextlib
import io
import os
import select
import sys
from typing import Any, TextIO

from rich.console import Console

_STANDARD = {"stdout": 1, "stderr": 2}
"""The standard outputs and their file descriptors."""

_PLAIN = {"·": "*", "–": "-", "—": "-", "…": "..."}
"""What stands for our own signs where an encoding has none of them."""

_ERRORS = "trainable.text.console"
"""Name of the rule by which an encoder replaces what it cannot write."""


def guard_output() -> None:
    """Makes the standard outputs of this process such that nothing that is printed ends it; a second time is ignored.

    To be called before anything is opened: the next file would take the place of an output that is closed, and get
    whatever is printed there.
    """
    codecs.register_error(_ERRORS, _replacement)
    _fill_closed_descriptors()
    for name, descriptor in _STANDARD.items():
        setattr(sys, name, _guarded(getattr(sys, name), descriptor))


def plain_console(**how: Any) -> Console:
    """A console that prints text as it is: names of files and classes may look like rich's markup or emoji codes.

    Args:
        how: more of rich's arguments, such as `stderr`.
    """
    return Console(**{"markup": False, "emoji": False, "highlight": False} | how)


class _Output(io.FileIO):
    """A file descriptor to which writing never fails."""

    def write(self, data: Any) -> int:
        """Writes; where that fails for good, this and all that follows goes nowhere."""
        try:
            while (written := super().write(data)) is None:  # It does not wait by itself, as a pipe shared with others.
                select.select([], [self.fileno()], [])
            return written
        except OSError:
            self._switch_off()
            return len(data)

    def _switch_off(self) -> None:
        """From here on the descriptor leads nowhere, for all who write to it and for processes begun later."""
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


def _guarded(stream: TextIO | None, descriptor: int) -> TextIO | None:
    """A standard output with the guard; one that is no text file of that descriptor only gets the rule for encoding."""
    if stream is None:  # It was closed when Python started.
        return _text(descriptor, "utf-8", line_buffering=True)
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    if isinstance(getattr(stream.buffer, "raw", None), _Output):
        return stream
    try:
        is_the_descriptor = stream.fileno() == descriptor
    except (OSError, ValueError):
        is_the_descriptor = False
    if not is_the_descriptor:
        with contextlib.suppress(ValueError):
            stream.reconfigure(errors=_ERRORS)
        return stream
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    return _text(descriptor, stream.encoding, stream.line_buffering, stream.write_through)


def _text(descriptor: int, encoding: str, line_buffering: bool, write_through: bool = False) -> TextIO:
    file = io.BufferedWriter(_Output(descriptor, "w", closefd=False))
    return io.TextIOWrapper(file, encoding, _ERRORS, None, line_buffering, write_through)


def _fill_closed_descriptors() -> None:
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free is taken, and those below it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _replacement(error: UnicodeError) -> tuple[str, int]:
    """For our own signs what looks like them; other characters as Python escapes them, so that names stay different."""
    assert isinstance(error, UnicodeEncodeError), "outputs are only written"
    character = error.object[error.start]
    return _PLAIN.get(character, character.encode("ascii", "backslashreplace").decode()), error.start + 1
