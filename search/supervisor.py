"""The process that the user starts: it starts the search as a process of its own, and goes on with one that crashed.

Ray leaves the process that uses it from C++ when its raylet dies: no exception, no `finally`. An out-of-memory killer
leaves no more. So the search tells its supervisor over a pipe how it ended, and an end without that word is a crash:
what is left of that search is cleared away, and another one goes on from the journal, as `--resume` would.

It imports neither Ray nor torch, has no threads, and keeps nothing that a search needs.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import psutil

from search.signals import Signals

CODES = (0, 1, 2, 3, 4, 130)
"""Exit codes of a search; see `search.driver.run_search`. Another one is none that a search gives."""

BAD_INPUT, PAUSED, INTERRUPTED = 2, 4, 130

MOST_CRASHES = 3
"""So many without a new epoch in between, and the supervisor goes on no more."""

MOST_RESTARTS = 10
"""In all, however much each search got done."""

CLEARING_SECONDS = 30.0
"""For what is left of a search to end after it got SIGKILL; one in a system call may take long."""

_PR_SET_CHILD_SUBREAPER = 36
_SHOW_CURSOR = "\x1b[?25h"


class EngineLostError(RuntimeError):
    """Ray has died in a way that Python sees; the search ends without a word, as in the others."""


@dataclass(frozen=True)
class Told:
    """What a search has told its supervisor by now, and the searches before it that crashed."""

    name: str | None = None
    """Of the run, once it exists."""
    command: str | None = None
    """The one that goes on with it."""
    searching_since: float | None = None
    """By `time.monotonic`, which is the same for all processes of a machine; a time budget counts from here."""
    restartable: bool = True
    """False on a cluster, which may be gone."""
    epoch: bool = False
    """Whether this search has got an epoch done."""
    outcome: int | None = None
    """The exit code that it ended with."""


class Line:
    """A search's line to its supervisor; without one, nothing is told to nobody.

    Args:
        pipe: file descriptor to write to.
        before: what was told by the searches that this one goes on with.
    """

    def __init__(self, pipe: int | None = None, before: Told | None = None):
        self.before = before or Told()
        self._pipe = pipe
        self._told = dataclasses.replace(self.before, epoch=False, outcome=None)

    def tell(self, **told: str | float | bool) -> None:
        """Tells some fields of `Told`; what is told already is not told again."""
        news = dataclasses.replace(self._told, **told)  # type: ignore[arg-type]
        if news == self._told:
            return
        self._told = news
        if self._pipe is not None:
            with contextlib.suppress(OSError):  # The supervisor is gone, which ends this process soon.
                os.write(self._pipe, json.dumps(told).encode() + b"\n")

    @property
    def told(self) -> Told:
        """All that has been told."""
        return self._told


def supervise(search: Callable[[Line], None]) -> int:
    """Runs a search in a process of its own, and again where it crashed, until one has ended with a word.

    Args:
        search: is called in the new process; what it raises is handled there.

    Returns:
        The exit code.
    """
    _adopt_orphans()
    signals = Signals()
    try:
        return _until_it_has_ended(search, signals)
    finally:
        # It is over: one more Ctrl-C, while Python ends, must not change the exit code.
        signals.ignore()


def _until_it_has_ended(search: Callable[[Line], None], signals: Signals) -> int:
    """Runs searches until one has ended with a word, or is not to be followed by another; returns the exit code."""
    told, crashes, restarts = Told(), 0, 0
    while True:
        child, pipe = _start(search, told, signals)
        status = signals.wait_for(child)
        told = _read(pipe, dataclasses.replace(told, epoch=False))
        _end_descendants()
        if told.outcome == BAD_INPUT and restarts:
            # Not the user's: what the run was begun with has served it before.
            return _farewell(told, "so the search cannot go on by itself; when that is mended", PAUSED)
        if told.outcome is not None:
            return told.outcome
        if signals.stopped:
            return _farewell(told, "interrupted", INTERRUPTED)
        how = _how_it_ended(status)
        if not told.restartable:
            return _farewell(told, f"the search ended without a word ({how}); the cluster's head may be gone", PAUSED)
        crashes, restarts = (1 if told.epoch else crashes + 1), restarts + 1
        if crashes == MOST_CRASHES or restarts > MOST_RESTARTS:
            times = f"{crashes} times without a new epoch" if crashes == MOST_CRASHES else f"{restarts} times in all"
            return _farewell(told, f"the search ended without a word ({how}), {times}", PAUSED)
        _say(f"the search ended without a word ({how}); it goes on by itself" + " from its journal" * bool(told.name))


def _start(search: Callable[[Line], None], told: Told, signals: Signals) -> tuple[int, int]:
    """Starts a search; returns its process id, and the end of the pipe that it tells its supervisor by."""
    pipe, to_supervisor = os.pipe()
    supervisor_lives, life = os.pipe()
    _flush()
    with signals.held_back():
        child = os.fork()
        if child:
            with contextlib.suppress(OSError):  # The child was faster, or is gone.
                os.setpgid(child, child)
            signals.child = child
        else:
            os.setpgid(0, 0)
            signals.give_back()
    if not child:
        os.close(pipe)
        os.close(life)
        threading.Thread(target=_end_with_supervisor, args=(supervisor_lives,), daemon=True).start()
        _run(search, Line(to_supervisor, told))
    os.close(to_supervisor)
    os.close(supervisor_lives)
    signals.keep(life)
    return child, pipe


def _run(search: Callable[[Line], None], line: Line) -> NoReturn:
    """The search's own process, from its start to its last word."""
    code: int | str | None = 0
    try:
        search(line)
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:  # Before the search listens, as during its imports.
        code = _farewell(line.told, "interrupted", INTERRUPTED)
    except EngineLostError as error:
        _say(str(error).splitlines()[0])
        os._exit(1)
    except Exception as error:
        code = _farewell(line.told, f"{_kept_traceback(error)}", PAUSED)
    _flush()
    if code in CODES:
        line.tell(outcome=code)
    sys.exit(code)


def _kept_traceback(error: Exception) -> str:
    """Writes down what nobody thought of; says what it was and where it is written."""
    text = "".join(traceback.format_exception(error))
    last = traceback.format_exception_only(error)[-1].strip()
    try:
        file, path = tempfile.mkstemp(prefix="moved-object-search-", suffix=".txt")
        with os.fdopen(file, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(text)
    except OSError:
        return f"{text}\nan error that the search does not know: {last}"
    return f"an error that the search does not know: {last}\nits traceback, to be reported as a bug: {path}"


def _end_with_supervisor(pipe: int) -> None:
    """Ends this process, and what it started, when the supervisor is gone: the pipe's other end then is closed."""
    while os.read(pipe, 1):
        pass
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            process.kill()
    os._exit(INTERRUPTED)


def _adopt_orphans() -> None:
    """Has whatever a dead search leaves become this process's child, so that it can be found and ended (Linux)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_descendants() -> None:
    """Ends and reaps all that a search has left: Ray's processes and the trials, which go on by themselves else."""
    deadline = time.monotonic() + CLEARING_SECONDS
    while (left := psutil.Process().children(recursive=True)) and time.monotonic() < deadline:
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.02)


def _read(pipe: int, told: Told) -> Told:
    """What the dead search has told, on top of what was told before it."""
    os.set_blocking(pipe, False)
    text = b""
    with contextlib.suppress(BlockingIOError):
        while block := os.read(pipe, 1 << 16):
            text += block
    os.close(pipe)
    for line in text.splitlines():
        with contextlib.suppress(ValueError):  # Half a line, of a search that was killed while it wrote.
            told = dataclasses.replace(told, **json.loads(line))
    return told


def _how_it_ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"exit code {os.waitstatus_to_exitcode(status)} from within a library"


def _farewell(told: Told, why: str, code: int) -> int:
    """Says why a search is over that cannot say so itself, and how to go on; returns the exit code."""
    if told.command:
        _say(f"{why}; go on with:\n{told.command}")
    else:
        from trainable.text.command_line import this_command  # Only now: most supervisors have nothing to say.

        _say(f"{why}; nothing was started:\n{this_command()}")
    return code


def _say(text: str) -> None:
    """Prints a line, wherever a search that died left the terminal; nobody may be there to read it."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout.isatty():  # Where a panel stood, its last line has no end.
            sys.stdout.write(f"{_SHOW_CURSOR}\n")
            sys.stdout.flush()
        print(text, file=sys.stderr)
    _flush()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
