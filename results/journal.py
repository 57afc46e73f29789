"""The journal of a run: the truth of what was asked, reported and ended, in the order in which it happened.

One JSON object a line, flushed to the disk before the search goes on. Everything else in a run folder but `trials/`
is derived from it. Events:

- `asked`: `trial`, `parameters` (Optuna's), `recipe`, `reference` (true for the reference recipe), `time`
- `reported`: `trial`, `metrics` (one evaluation at the end of an epoch), `time`
- `ended`: `trial`, `status` (COMPLETED, PRUNED or FAILED), `error` (text or null), `time`
"""

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Event = dict[str, Any]


class JournalError(ValueError):
    """The journal cannot be read or written; the message names the file and says why."""


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
    """The reported metrics, one dict an epoch."""
    reported: list[float] = field(default_factory=list)
    """When each of them was reported."""
    error: str | None = None
    ended: float | None = None

    @property
    def best(self) -> dict[str, Any] | None:
        """The metrics of the epoch with the lowest `val_loss`, the earliest of equals; None before the first."""
        return min(self.history, key=lambda metrics: metrics["val_loss"], default=None)


class Journal:
    """An append-only journal that one process at a time writes.

    Opening it cuts off a torn last line: the event of a write that a crash interrupted has not happened.

    Args:
        path: the file; made if it does not exist.

    Raises:
        JournalError: another process is writing it, or a line before the last one is damaged.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise JournalError(
                f"{path}: another search is writing this run; wait for it or choose another --name"
            ) from None
        self._file.seek(0)
        whole = self._file.read()
        self._file.truncate(whole.rfind(b"\n") + 1)
        self.events = read_journal(path)

    def append(self, event: Event) -> None:
        """Writes an event and waits until it is on the disk."""
        self._file.write(json.dumps(event).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.events.append(event)

    def close(self) -> None:
        """Lets another process write."""
        self._file.close()


def read_journal(path: Path) -> list[Event]:
    """The events of a journal, whether or not it is being written; a torn last line is left out.

    Raises:
        JournalError: the file is missing, or a line before the last one is damaged.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise JournalError(f"{path}: cannot be read, so this is no run folder: {error.strerror}") from None
    events = []
    for number, line in enumerate(lines, start=1):
        try:
            events.append(json.loads(line))
        except ValueError as error:
            raise JournalError(f"{path}, line {number}: is not JSON: {error}") from None
    return events


def trial_records(events: Iterable[Event]) -> list[TrialRecord]:
    """The trials that `events` tell of, in the order of their numbers."""
    records: dict[int, TrialRecord] = {}
    for event in events:
        number = event["trial"]
        if event["event"] == "asked":
            records[number] = TrialRecord(
                number, event["parameters"], event["recipe"], event["reference"], event["time"]
            )  # fmt: skip
        elif event["event"] == "reported":
            records[number].history.append(event["metrics"])
            records[number].reported.append(event["time"])
        else:
            record = records[number]
            record.status, record.error, record.ended = event["status"], event["error"], event["time"]
    return [records[number] for number in sorted(records)]


def best_trial(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The trial of the lowest `val_loss` over all epochs of all trials that did not fail; the earliest of equals."""
    candidates = [record for record in records if record.status != "FAILED" and record.history]
    return min(candidates, key=lambda record: record.best["val_loss"] if record.best else 0.0, default=None)
