"""Whose process a trial is: one at a time, and none that its search has left behind.

A search that gets SIGKILL cannot end its workers, and they may have groups and sessions of their own. So each looks
after itself, and the next process of a trial waits until the one before has ended.
"""

import contextlib
import errno
import fcntl
import functools
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

WATCH_SECONDS = 1.0
"""Between two looks at who the parent is."""

FIRST_WORD_SECONDS, NEXT_WORD_SECONDS = 5.0, 30.0
"""How long a process waits for the one before without a word, and until the next."""

_POLL_SECONDS = 0.1
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system says that has no locks."""


@functools.cache
def end_with_parent() -> None:
    """Has this process end, at once and without a word, when its parent has.

    For a worker of Ray's, whose parent is the raylet. Ray's own watch only knows a parent that is process 1, which it
    is not under a `systemd --user` or another process that takes orphans in (measured with Ray 2.60).
    """
    threading.Thread(target=_watch, args=(os.getppid(),), name="parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    # No `finally` and no `atexit`: whoever takes the trial over is waiting, and all that counts is on the disk.
    os._exit(1)


@contextlib.contextmanager
def only_process(folder: Path, tell: Callable[[str], None]) -> Iterator[None]:
    """Lets one process of this machine at a time write a trial's folder, by a lock in it.

    The lock goes with the process that holds it, however it ends. Processes of other machines are not waited for: a
    shared file system may keep the locks of a node that died.

    Args:
        folder: the trial's, or another that stands for it; made if it does not exist.
        tell: called with a line while another process holds it, again and again. May raise to give up.

    Raises:
        OSError: the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"lock-{_machine()}"
    file = _locked(path, tell)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        # Not only closed: a process that loads images has the same open file by inheritance.
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)
        os.close(file)


def _locked(path: Path, tell: Callable[[str], None]) -> int:
    """Opens the file and locks it, once no other process holds it."""
    next_word = time.monotonic() + FIRST_WORD_SECONDS
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if _is_locked_now(file) and _is_still_there(file, path):
                with contextlib.suppress(OSError):  # Only for whoever waits.
                    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
                return file
            if time.monotonic() >= next_word:
                next_word = time.monotonic() + NEXT_WORD_SECONDS
                holder = f"process {_holder(file)} on {platform.node()}"
                tell(f"{path.parent}: {holder} still writes there; waiting for it to end")
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        time.sleep(_POLL_SECONDS)


def _is_locked_now(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _is_still_there(file: int, path: Path) -> bool:
    """Whether a locked file is the one under its name, and not one that its last holder has deleted."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _holder(file: int) -> str:
    return os.pread(file, 20, 0).decode("ascii", "replace").partition("\n")[0] or "of unknown number"


@functools.cache
def _machine() -> str:
    """Names this start of this machine, whatever container asks; its host where there is no such name."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return platform.node() or "here"
