"""Whether a cluster's head still answers: without it nothing is started or placed, and Ray itself waits in silence."""

import socket
import threading
import time
from types import TracebackType

PATIENCE_SECONDS = 30.0
"""So long without an answer, and the head is lost."""
EVERY_SECONDS = 2.0
"""Between two questions."""


class Head:
    """Asks the head again and again, beside the search, whether it is there.

    Args:
        address: `HOST:PORT` of the head; None where the search has started Ray itself, and goes with it.
        patience: seconds.
        every: seconds.
    """

    def __init__(self, address: str | None, patience: float = PATIENCE_SECONDS, every: float = EVERY_SECONDS):
        self.address = address
        self._patience = patience
        self._every = every
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
        since = self._silent_since
        if since is None or time.monotonic() - since < self._patience:
            return None
        return f"the cluster's head at {self.address} has not answered for {self._patience:g} s"

    def _ask(self) -> None:
        assert self.address
        host, _, port = self.address.rpartition(":")
        while True:
            asked = time.monotonic()
            try:
                # A connection is answer enough: the head's own process accepts it.
                socket.create_connection((host.strip("[]"), int(port)), timeout=self._patience / 3).close()
                self._silent_since = None
            except OSError:
                self._silent_since = self._silent_since or asked
            if self._over.wait(self._every):
                return
