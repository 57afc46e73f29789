"""The journal of a run: the truth of what was asked, reported and ended, in the order in which it happened.

One JSON object a line, flushed to the disk before the search goes on. Everything else in a run folder but `trials/`
is derived from it. Events:

- `asked`: `trial`, `parameters` (Optuna's), `recipe`, `reference` (true for the reference recipe), `time`
- `reported`: `trial`, `metrics` (one evaluation at the end of an epoch), `time`
- `ended`: `trial`, `status` (COMPLETED, PRUNED or FAILED), `error` (text or null), `time`

A run in a remote storage has its journal there (`results.journal.objects`), and the file is a copy of it.
"""

import contextlib
import errno
import fcntl
import gc
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from results.journal.events import Event, JournalError, first_fault
from results.journal.objects import JournalObjects
from trainable.recipe import Recipe
from trainable.storage.remote import StorageError
from trainable.text.shown import printable_lines

BLOCK_BYTES = 1 << 22
"""Most bytes of lines that are parsed at once."""


@dataclass
class TrialRecord:
    """One trial as the journal tells it."""

    number: int
    parameters: dict[str, Any]
    recipe: dict[str, Any]
    reference: bool
    asked: float
    """Seconds since the epoch, as all times."""
    status: str = "RUNNING"
    history: list[dict[str, Any]] = field(default_factory=list)
    """The reported metrics, one dict an epoch; it only ever grows."""
    reported: list[float] = field(default_factory=list)
    """When each of them was reported."""
    error: str | None = None
    ended: float | None = None
    _best: dict[str, Any] | None = field(default=None, init=False, repr=False, compare=False)
    _compared: int = field(default=0, init=False, repr=False, compare=False)

    @property
    def best(self) -> dict[str, Any] | None:
        """The metrics of the epoch with the lowest `val_loss`, the earliest of equals; None before the first."""
        # Asked for many times a trial: only what is new is compared.
        for metrics in self.history[self._compared :]:
            if self._best is None or metrics["val_loss"] < self._best["val_loss"]:
                self._best = metrics
        self._compared = len(self.history)
        return self._best


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
            _check(self.events, str(objects.folder if objects else path))
        except JournalError:
            self._file.close()
            raise
        self._file.truncate(whole)

    def append(self, event: Event) -> None:
        """Writes an event and waits until it is on the disk, and in the remote storage.

        A report is not waited for there: one that is lost comes again, since its trial keeps it too.

        Raises:
            OSError: it could not be written; the journal is as it was before.
            StorageError: the storage cannot be used or reached, or could not be for an earlier report. The event may
                have come there all the same, as in a crash; none is taken any more.
        """
        line, before = _line(event), os.fstat(self._file.fileno()).st_size
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(self._file.fileno())
            if self._objects:
                self._objects.append(event, wait=event["event"] != "reported")
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
        JournalError: the file is missing, or a line before the last one is not JSON. What the events say is checked
            by those who use it, `Journal` and `trial_records`.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path)[0]
    except OSError as error:
        raise JournalError(f"{path}: cannot be read, so this is no run folder: {error.strerror}") from None


def trial_records(events: Iterable[Event], source: str = "journal.jsonl") -> list[TrialRecord]:
    """The trials that `events` tell of, in the order of their numbers.

    Args:
        events: a line of the journal each.
        source: what error messages call it.

    Raises:
        JournalError: an event breaks a rule of `journal_events`.
    """
    events = list(events)
    _check(events, source)
    records: dict[int, TrialRecord] = {}
    for event in events:
        number = event["trial"]
        if event["event"] == "asked":
            # Fields that are younger than the journal have their defaults.
            recipe = Recipe.from_dict(event["recipe"]).to_dict() if event["recipe"] else {}
            records[number] = TrialRecord(number, event["parameters"], recipe, event["reference"], event["time"])
        elif event["event"] == "reported":
            records[number].history.append(event["metrics"])
            records[number].reported.append(event["time"])
        else:
            record = records[number]
            # Tables and terminals show it, and the names of files that it tells of may come from anyone.
            error = None if event["error"] is None else printable_lines(event["error"])
            record.status, record.error, record.ended = event["status"], error, event["time"]
    return [records[number] for number in sorted(records)]


def best_trial(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The trial of the lowest `val_loss` over all epochs of all trials that did not fail; the earliest of equals."""
    candidates = [record for record in records if record.status != "FAILED" and record.history]
    return min(candidates, key=lambda record: record.best["val_loss"] if record.best else 0.0, default=None)


def _read(file: BinaryIO, path: Path) -> tuple[list[Event], int]:
    """The events of all whole lines from here on, and the bytes of these lines."""
    events: list[Event] = []
    size = 0
    with _garbage_uncollected():
        while lines := file.readlines(BLOCK_BYTES):
            whole = lines if lines[-1].endswith(b"\n") else lines[:-1]
            events += _parsed(whole, len(events), path)
            size += sum(map(len, whole))
            if whole is not lines:
                break  # Another process may be writing the rest of the line just now.
    return events, size


def _parsed(lines: list[bytes], before: int, path: Path) -> list[Event]:
    """The events of `lines`; `before` lines stand before them in the file.

    As one JSON text: parsed one by one, each would have its own copy of all names, twice the memory.
    """
    with contextlib.suppress(ValueError, RecursionError):
        events = json.loads(b"[" + b",".join(lines) + b"]")
        if len(events) == len(lines):
            return events
    events = []
    for number, line in enumerate(lines, start=before + 1):
        try:
            events.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise JournalError(f"{path}, line {number}: is not JSON: {error}; {_ADVICE}") from None
    return events


_ADVICE = "mend the line, or cut the journal off before it: a resumed search goes on from there"


def _line(event: Event) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _check(events: Sequence[Event], source: str) -> None:
    if found := first_fault(events):
        line, fault = found
        raise JournalError(f"{source}, line {line}: {fault}; {_ADVICE}")


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
