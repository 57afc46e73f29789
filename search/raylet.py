"""Whether Ray's own process on this machine lives: a search that does not notice its death waits for ever."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import psutil

GRACE_SECONDS = 10.0
"""For Ray to end this process by itself, as it mostly does within seconds."""
EVERY_SECONDS = 1.0
"""Between two looks."""


def _leave() -> None:
    os._exit(1)


@contextlib.contextmanager
def ended_with_raylet(
    end: Callable[[], object] = _leave, grace: float = GRACE_SECONDS, every: float = EVERY_SECONDS
) -> Iterator[None]:
    """Ends this process, without a word, some time after a raylet that it has started is gone.

    Seen with Ray 2.60: of some dozen raylets that got SIGKILL, one left its driver within `ray.wait`, where nothing
    reaches it. The supervisor goes on with such a search as with one that Ray has ended.

    Args:
        end: ends the process; called in another thread.
        grace: seconds.
        every: seconds.
    """
    raylets = [process for process in psutil.Process().children() if process.name() == "raylet"]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every):
            if not all(map(_is_alive, raylets)):
                if not over.wait(grace):
                    end()
                return

    threading.Thread(target=watch, name="raylet", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
