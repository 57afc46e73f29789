"""The signals that end or rest a search: they come to its supervisor, which hands each on once."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

ONE_SIGNAL_SECONDS = 1.0
"""Signals within so long count as one: a batch system tells each process of a job, some twice."""

SIGNALS_TO_DIE = 3
"""So many signals, and a search that does not end by itself is ended."""


class Signals:
    """Takes the signals that end a search, and hands each on to it once.

    The search is a process group of its own, so that Ctrl-C on a terminal comes to the supervisor alone.
    """

    def __init__(self) -> None:
        self.child: int | None = None
        self.stopped = False
        self._came = 0
        self._last = -ONE_SIGNAL_SECONDS
        self._life: int | None = None
        ignored = {number for number in (signal.SIGHUP, signal.SIGTSTP) if signal.getsignal(number) is signal.SIG_IGN}
        ending = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP} - ignored  # Ignored by `nohup`, and so by the search.
        self._before = {number: signal.getsignal(number) for number in ({*ending, signal.SIGTSTP} - ignored)}
        for number in self._before:
            signal.signal(number, self._suspend if number == signal.SIGTSTP else self._stop)

    @contextlib.contextmanager
    def held_back(self) -> Iterator[None]:
        """Keeps signals waiting, so that none meets a process that is half started."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._before)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def give_back(self) -> None:
        """In the new process: signals do what they did before; the search decides what they are to do."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        # Not in the terminal's foreground, it may still write to a terminal that is set to stop such processes.
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)

    def ignore(self) -> None:
        """From here on, nothing comes of them."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def keep(self, life: int) -> None:
        """Holds the pipe open that tells the search that its supervisor lives; that of the one before is closed."""
        if self._life is not None:
            os.close(self._life)
        self._life = life

    def wait_for(self, child: int) -> int:
        """How a search ended, as `os.waitpid` says it; reaps whatever else ends meanwhile."""
        while True:
            process, status = os.waitpid(-1, 0)
            if process == child:
                self.child = None
                return status

    def _stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last < ONE_SIGNAL_SECONDS:
            return
        self._last, self.stopped, self._came = now, True, self._came + 1
        if self.child is not None:
            os.kill(self.child, number if self._came < SIGNALS_TO_DIE else signal.SIGKILL)

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the search rests as long as its supervisor does."""
        self._hand_on(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._hand_on(signal.SIGCONT)

    def _hand_on(self, number: int) -> None:
        if self.child is not None:
            os.killpg(self.child, number)
