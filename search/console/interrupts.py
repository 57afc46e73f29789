"""Ctrl-C, the SIGTERM of a batch system or a cloud, and the SIGHUP of a closed terminal, which are to us the same.

The first one ends a search where nothing is half done: after a step of Ray's loop, with all reports that have come
taken in. The second one ends it there and then; the journal holds all the same.
"""

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import psutil

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
INTERRUPTED = 130
"""The exit code of an interrupted search."""


class Interrupts:
    """Takes the signals from `listen` on. One that comes before a loop that asks `check`, or after it, raises at once.

    Args:
        command: the one that goes on with the search, for a user who does not wait.
        end: called with the exit code before the process ends at once.
    """

    def __init__(self, command: str, end: Callable[[int], None] = lambda code: None):
        self._end = end
        self._farewell = f"\nstopped at once; all that was reported is kept. Go on with:\n{command}\n"
        self._looping = self._came = False

    def listen(self) -> None:
        """Listens from here on, which must be after Ray was started: its own handler of SIGTERM would end us without a
        word.
        """
        self._handle_by(self._first)

    def __enter__(self) -> "Interrupts":
        return self

    def __exit__(self, *exception: object) -> None:
        self._looping = False

    def check(self) -> None:
        """To be called again and again in a loop within `with`, where nothing is half done.

        Raises:
            KeyboardInterrupt: a signal has come.
        """
        self._looping = True
        if self._came:
            raise KeyboardInterrupt

    def _first(self, number: int, frame: FrameType | None) -> None:
        self._handle_by(self._second)
        self._came = True
        if not self._looping:
            raise KeyboardInterrupt

    def _second(self, number: int, frame: FrameType | None) -> None:
        # Past Python's buffers, which may be in use at this moment.
        with contextlib.suppress(OSError):  # The terminal may be closed.
            os.write(1, self._farewell.encode())
        # Ray's agents would notice a minute later that they are alone.
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._end(INTERRUPTED)
        os._exit(INTERRUPTED)

    def _handle_by(self, handler: Any) -> None:
        for number in SIGNALS:
            # `nohup` means what it says; a shell's script leaves SIGINT so only for what it starts with `&`.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)
