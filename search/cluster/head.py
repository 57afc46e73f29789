"""Whether a cluster's head still answers: without it nothing is started or placed, and Ray itself waits in silence."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType

PAUSED = 4
"""The exit code of a search that cannot go on for now."""
PATIENCE_SECONDS = 30.0
"""So long without an answer, and the head is lost."""
EVERY_SECONDS = 2.0
"""Between two questions."""
STUCK_SECONDS = 5.0
"""So long after that the search has noticed; else it waits for the head within Ray, where nothing reaches it."""


def answers(address: str, timeout: float) -> bool:
    """Whether the head at `HOST:PORT` is there. A connection is answer enough: the head's own process accepts it."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=timeout).close()
    except OSError:
        return False
    return True


class Head:
    """Asks the head again and again, beside the search, whether it is there.

    Args:
        address: `HOST:PORT` of the head; None where the search has started Ray itself, and goes with it.
        stuck: called, in another thread, where the head is lost and the search does not notice.
        patience: seconds.
        every: seconds.
        grace: seconds that the search has to notice.
    """

    def __init__(
        self,
        address: str | None,
        stuck: Callable[[], object] = lambda: None,
        patience: float = PATIENCE_SECONDS,
        every: float = EVERY_SECONDS,
        grace: float = STUCK_SECONDS,
    ):
        self.address = address
        self._stuck = stuck
        self._patience = patience
        self._every = every
        self._grace = grace
        self._silent_since: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="head", daemon=True)

    def __enter__(self) -> "Head":
        if self.address:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()

    @property
    def lost(self) -> str | None:
        """That it has not answered for long, in words; None as long as it does."""
        if self._silent_for < self._patience:
            return None
        return f"the cluster's head at {self.address} has not answered for {self._patience:g} s"

    @property
    def _silent_for(self) -> float:
        since = self._silent_since
        return 0.0 if since is None else time.monotonic() - since

    def _ask(self) -> None:
        assert self.address
        while not self._over.wait(self._every):
            asked = time.monotonic()
            self._silent_since = None if answers(self.address, self._every) else self._silent_since or asked
            if self._silent_for >= self._patience + self._grace:
                self._stuck()
                return


def leave_paused(head: str, command: str, end: Callable[[int], object] = lambda code: None) -> None:
    """Ends this process, which waits for Ray and can do nothing else any more; the journal holds all the same.

    Args:
        head: address of the one that is lost.
        command: the one that goes on with the search.
        end: called with the exit code before.
    """
    # Past Python's buffers, which may be in use at this moment.
    with contextlib.suppress(OSError):
        os.write(
            1,
            f"\npaused, and nothing that was reported is lost: the cluster's head at {head} has not answered for "
            f"{PATIENCE_SECONDS:g} s. When that is mended, go on with:\n{command}\n".encode(),
        )
    end(PAUSED)
    os._exit(PAUSED)
