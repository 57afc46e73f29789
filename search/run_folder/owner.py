"""Who writes a run in a remote storage: one search at a time.

No storage of pyarrow's can make an object only where there is none. So each search writes a claim of its own, and holds
the run once it then sees no other claim: of two, at least one sees the other. Where both do, the lower name has it. A
claim is written anew every few seconds, and one that has not been for long is of a search that died. So two searches
never hold one run, unless one stands still between two lines of this file for `STALE_SECONDS - FENCE_SECONDS`.

A claim that cannot be read holds like any other until it has not been written for long. Other files are not ours.
"""

import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from trainable.storage.remote import Remote, StorageError
from trainable.text.shown import printable

BEAT_SECONDS = 20.0
"""Seconds between two writings of a claim."""

FENCE_SECONDS = 150.0
"""Seconds without one after which a search must take it that it has been given up for dead."""

STALE_SECONDS = 180.0
"""Seconds, by the storage's clock, after which others take it so."""

SETTLE_SECONDS = 3.0
"""How long the lower name waits for the others to give way; a search that holds the run does not."""

_CLAIM = re.compile(r"[0-9a-f]{32}\.json")
_log = logging.getLogger(__name__)


class OwnerError(ValueError):
    """Another search writes the run, or has taken it over; the message says which and what to do."""


class Owner:
    """Holds a run for this search, from `with` to its end.

    A claim of a process that is known to be dead, since it ran on this machine, does not count.

    Args:
        folder: where the claims are, such as `owner/` in the run's folder; need not exist.

    Raises:
        OwnerError: on entering, another search holds the run.
        StorageError: on entering, the storage cannot be used or reached.
    """

    def __init__(self, folder: Remote):
        self.folder = folder
        self._at_once = replace(folder, retry_seconds=0)
        self._claim = f"{uuid.uuid4().hex}.json"
        self._beaten = 0.0
        self._lost = False
        self._foreign: set[str] = set()
        self._left = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="owner", daemon=True)

    def __enter__(self) -> "Owner":
        self._write(self.folder)
        started = time.monotonic()
        while others := self._others():
            if min(others) < self._claim or time.monotonic() - started > SETTLE_SECONDS:
                self.folder.drop(self._claim)
                raise OwnerError(_refusal(self.folder, *others[min(others)]))
            time.sleep(0.1)
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._heart.join()
        try:
            if not self._lost:
                self._at_once.drop(self._claim)
        except StorageError as error:
            _log.warning("the run stays claimed for %g s: %s", STALE_SECONDS, error)

    def check(self) -> None:
        """Whether this search still holds the run; to be asked before it is written to.

        Raises:
            OwnerError: it does not, after it stood still or could not reach the storage for long.
        """
        if self._lost or _now() - self._beaten > FENCE_SECONDS:
            self._lost = True
            raise OwnerError(
                f"{self.folder}: this search stood still or could not reach the storage for over {FENCE_SECONDS:g} s, "
                "and another one may have taken the run over; go on with --resume"
            )

    def _write(self, folder: Remote) -> None:
        started = _now()
        folder.write(self._claim, json.dumps(_myself()).encode())
        self._beaten = started

    def _beat(self) -> None:
        while not self._left.wait(BEAT_SECONDS):
            try:
                self.check()
                if self._at_once.written(self._claim) is None:
                    self._lost = True
                    return
                self._write(self._at_once)
            except StorageError:  # The next beat may come through; `check` knows how long it has been.
                continue
            except OwnerError:
                return

    def _others(self) -> dict[str, tuple[dict[str, Any], float]]:
        """What each other claim says and how many seconds old it is, by its name; drops those of the dead."""
        now = self.folder.written(self._claim) or 0.0
        others = {}
        names = set(self.folder.names()) - {self._claim}
        self._say_foreign(names)
        for name in filter(_CLAIM.fullmatch, names):
            data, written = self.folder.read(name), self.folder.written(name)
            if data is None or written is None:  # Its search is over by now.
                continue
            claim, age = _parsed(data), now - written
            if age > STALE_SECONDS or _is_dead(claim):
                self.folder.drop(name)
            else:
                others[name] = claim, age
        return others

    def _say_foreign(self, names: set[str]) -> None:
        for name in sorted({name for name in names if not _CLAIM.fullmatch(name)} - self._foreign):
            self._foreign.add(name)
            _log.warning("%s/%s: is no claim of a search, and is left alone", self.folder, name)


def _parsed(data: bytes) -> dict[str, Any]:
    """What a claim says; of one that is damaged, as good as nothing."""
    with contextlib.suppress(ValueError, RecursionError):
        claim = json.loads(data)
        if (
            isinstance(claim, dict)
            and isinstance(claim.get("host"), str)
            and type(claim.get("pid")) is int
            and 0 < claim["pid"] < 2**31
            and isinstance(claim.get("processes", 0), str | None)
        ):
            return claim
    return {"host": "an unknown machine (its claim is damaged)", "pid": "of unknown number", "processes": None}


def _refusal(folder: Remote, claim: dict[str, Any], age: float) -> str:
    who = f"process {claim['pid']} on {printable(claim['host'])}"
    return (
        f"{folder}: another search, {who}, is writing this run; wait for it or "
        f"choose another --name. If it was killed, the run is free in {max(1, STALE_SECONDS - age):.0f} s"
    )


def _now() -> float:
    """Seconds, those too in which the machine was suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time()


def _myself() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "processes": _processes()}


def _processes() -> str | None:
    """Names what this process's id is unique in: this start of the machine, this container. None where unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip() + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _is_dead(claim: dict[str, Any]) -> bool:
    """Whether the process of a claim is known to have ended, even if nobody has asked yet how it did."""
    if claim["processes"] is None or claim["processes"] != _processes():
        return False
    try:
        os.kill(claim["pid"], 0)
        return bool(psutil.Process(claim["pid"]).status() == psutil.STATUS_ZOMBIE)
    except OSError as error:  # Of another user's process it is a PermissionError.
        return isinstance(error, ProcessLookupError)
    except psutil.Error:
        return False
