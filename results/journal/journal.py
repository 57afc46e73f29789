"""The journal of a run: the truth of what was asked, reported and ended, in the order in which it happened.

One JSON object a line, flushed to the disk before the search goes on. Everything else in a run folder but `trials/`
is derived from it. Its events are those of `results.journal.events`.

A run in a remote storage has its journal there (`results.journal.objects`), and the file is a copy of it.
"""

import contextlib
import errno
import fcntl
import gc
import json
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from results.journal.events import (
    ADVICE,
    Asked,
    Ended,
    Event,
    EventReader,
    JournalError,
    Paused,
    Reported,
    fault_of,
    to_dict,
)
from results.journal.objects import JournalObjects
from trainable.history import EpochRow
from trainable.metric import METRICS, VAL_LOSS, Metric
from trainable.recipe import Recipe, Stage
from trainable.storage.remote import StorageError
from trainable.text.shown import printable_lines

BLOCK_BYTES = 1 << 22
"""Most bytes of lines that are parsed at once."""


@dataclass(slots=True)
class TrialRecord:
    """One trial as the journal tells it."""

    number: int
    parameters: dict[str, Any]
    recipe: Recipe | None
    """None where the space raised."""
    reference: bool
    asked: float
    """Seconds since the epoch, as all times."""
    status: str = "RUNNING"
    history: list[EpochRow] = field(default_factory=list)
    """What was reported, a row an epoch; it only ever grows."""
    reported: list[float] = field(default_factory=list)
    """When each of them was reported."""
    error: str | None = None
    ended: float | None = None
    _best: EpochRow | None = field(default=None, init=False, repr=False, compare=False)
    _compared: int = field(default=0, init=False, repr=False, compare=False)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Those of the recipe; none where there is no recipe."""
        return self.recipe.stages if self.recipe else ()

    @property
    def best(self) -> EpochRow | None:
        """The epoch that ranks best, the earliest of equals; None before the first."""
        # Asked for many times a trial: only what is new is compared.
        for row in self.history[self._compared :]:
            if self._best is None or row.rank < self._best.rank:
                self._best = row
        self._compared = len(self.history)
        return self._best

    @property
    def metric(self) -> Metric:
        """What its epochs are compared by."""
        return METRICS[self.recipe.metric if self.recipe else VAL_LOSS]

    @property
    def compared(self) -> float:
        """The best epoch's value of the metric; before the first, worse than any."""
        if self.best is None:
            return -math.inf if self.metric.more_is_better else math.inf
        return self.best.compared

    @property
    def objective(self) -> float:
        """The same as what is to be as low as can be; infinite before the first."""
        return self.best.objective if self.best else math.inf


class Journal:
    """An append-only journal that one process at a time writes.

    Opening it cuts off a torn last line: the event of a write that a crash interrupted has not happened.

    Args:
        path: the file; made if it does not exist.
        objects: the journal of a run in a remote storage; the file is then made anew from it.

    Raises:
        JournalError: another process is writing it, or a line before the last one is damaged.
    """

    def __init__(self, path: Path, objects: JournalObjects | None = None):
        self.path = path
        self._objects = objects
        self._file = path.open("ab", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise JournalError(
                f"{path}: another search is writing this run; wait for it or choose another --name"
            ) from None
        try:
            if objects:
                # In place: another file of this name would not be the locked one.
                path.write_bytes(b"".join(map(_line, objects.events)))
            with path.open("rb") as file:
                self.events, whole = _read(file, path)
        except JournalError:
            self._file.close()
            raise
        self._file.truncate(whole)

    def append(self, event: Event) -> None:
        """Writes an event and waits until it is on the disk, and in the remote storage.

        A report is not waited for there: one that is lost comes again, since its trial keeps it too.

        Raises:
            JournalError: it breaks a rule, as a space's parameter does whose name cannot be printed.
            OSError: it could not be written; the journal is as it was before.
            StorageError: the storage cannot be used or reached, or could not be for an earlier report. The event may
                have come there all the same, as in a crash; none is taken any more.
        """
        if fault := fault_of(event):
            raise JournalError(f"{self.path}: trial {event.trial} cannot be written: {fault}")
        line, before = _line(event), os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(self._file.fileno())
            if self._objects:
                self._objects.append(event, wait=not isinstance(event, Reported))
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(before)
            raise
        self.events.append(event)

    def close(self) -> None:
        """Lets another process write."""
        self._file.close()
        if self._objects:
            with contextlib.suppress(StorageError):  # Reports, which come again: all else has been waited for.
                self._objects.close()


def read_journal(path: Path) -> list[Event]:
    """The events of a journal, whether or not it is being written; a torn last line is left out.

    Raises:
        JournalError: the file is missing, or a line before the last one breaks a rule.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path)[0]
    except OSError as error:
        raise JournalError(f"{path}: cannot be read, so this is no run folder: {error.strerror}") from None


def trial_records(events: Iterable[Event]) -> list[TrialRecord]:
    """The trials that `events` tell of, in the order of their numbers."""
    records: dict[int, TrialRecord] = {}
    for event in events:
        take_in(records, event)
    return [records[number] for number in sorted(records)]


def take_in(records: dict[int, TrialRecord], event: Event) -> None:
    """Brings the trials up to date, by their numbers; to be called with all events in their order."""
    if isinstance(event, Asked):
        records[event.trial] = TrialRecord(event.trial, event.parameters, event.recipe, event.reference, event.time)
        return
    record = records[event.trial]
    if isinstance(event, Reported):
        record.history.append(event.metrics)
        record.reported.append(event.time)
    elif isinstance(event, Ended):
        # Tables and terminals show it, and the names of files that it tells of may come from anyone.
        record.error = None if event.error is None else printable_lines(event.error)
        record.status, record.ended = event.status, event.time
    else:
        record.status, record.ended = "PAUSED" if isinstance(event, Paused) else "RUNNING", None


def best_trial(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The trial of the best epoch of all trials that did not fail; the earliest of equals."""
    candidates = [record for record in records if record.status != "FAILED" and record.history]
    return min(candidates, key=attrgetter("objective"), default=None)


def metric_of(records: Iterable[TrialRecord]) -> Metric:
    """What the trials of a search are compared by."""
    return next((record.metric for record in records if record.recipe), METRICS[VAL_LOSS])


def _read(file: BinaryIO, path: Path) -> tuple[list[Event], int]:
    """The events of all whole lines from here on, and the bytes of these lines."""
    reader, size = EventReader(str(path)), 0
    with _garbage_uncollected():
        while lines := file.readlines(BLOCK_BYTES):
            whole = lines if lines[-1].endswith(b"\n") else lines[:-1]
            reader.read(_parsed(whole, len(reader.events), path))
            size += sum(map(len, whole))
            if whole is not lines:
                break  # Another process may be writing the rest of the line just now.
    return reader.events, size


def _parsed(lines: list[bytes], before: int, path: Path) -> list[Any]:
    """What JSON gives for `lines`; `before` lines stand before them in the file.

    As one JSON text, so that equal names and texts are kept once. Pydantic's reader is the fast one; what Python's own
    takes beside, such as half of a surrogate pair in the name of a file, is read line by line.
    """
    with contextlib.suppress(ValueError):
        plain: list[Any] = from_json(b"[" + b",".join(lines) + b"]")
        if len(plain) == len(lines):
            return plain
    plain = []
    for number, line in enumerate(lines, start=before + 1):
        try:
            plain.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise JournalError(f"{path}, line {number}: is not JSON: {error}; {ADVICE}") from None
    return plain


def _line(event: Event) -> bytes:
    return json.dumps(to_dict(event)).encode() + b"\n"


@contextlib.contextmanager
def _garbage_uncollected() -> Iterator[None]:
    """Millions of new objects, none of them garbage: looking for it would take as long as reading them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
