"""Trials that are run one after another or side by side, and the journal that remembers them."""

import time
from abc import ABC, abstractmethod

from results.journal.events import Ended, Event, Reported, Status
from results.journal.journal import Journal, TrialRecord, take_in
from trainable.history import EpochRow
from trainable.text.shown import printable_lines


class Trials(ABC):
    """What is remembered of trials, and which of them is next; rebuilt from the journal.

    What happens to a trial is written to the journal first and applied second, by the same code that replays it.

    Args:
        journal: written from now on; whoever derives from this replays it.

    Attributes:
        records: the trials by their numbers.
    """

    def __init__(self, journal: Journal):
        self.journal = journal
        self.records: dict[int, TrialRecord] = {}

    @property
    def pauses_at(self) -> tuple[int, ...]:
        """Epochs after which a trial may have to wait."""
        return ()

    @property
    def unfinished(self) -> list[TrialRecord]:
        """Trials that were asked for and have not ended, in the order of their numbers."""
        return [record for record in self.records.values() if record.status == "RUNNING"]

    @property
    def paused(self) -> list[TrialRecord]:
        """Trials that wait at a rung, in the order of their numbers."""
        return [record for record in self.records.values() if record.status == "PAUSED"]

    @property
    def finished(self) -> list[TrialRecord]:
        """Trials that have ended, in the order of their numbers."""
        return [record for record in self.records.values() if record.status not in ("RUNNING", "PAUSED")]

    @property
    def tried(self) -> int:
        """How many trials have ended or wait at a rung."""
        return len(self.records) - len(self.unfinished)

    @property
    def reference(self) -> TrialRecord | None:
        """The trial of the reference recipe, where it is one of them."""
        return next((record for record in self.records.values() if record.reference), None)

    @abstractmethod
    def left(self, trials: int) -> int:
        """How many of so many trials have still to be asked for, or to train on, as far as is known by now."""

    @abstractmethod
    def next(self, trials: int | None = None) -> TrialRecord | None:
        """The trial to train next; None where there is none of so many, at present or at all."""

    def report(self, number: int, row: EpochRow) -> bool:
        """Takes in an epoch; False, and nothing done, where the epoch is known already."""
        history = self.records[number].history
        if history and row.epoch <= history[-1].epoch:
            return False
        self._write(Reported(number, row, time.time()))
        return True

    def goes_on(self, number: int) -> bool:
        """Whether a trial trains on after its last epoch, which is not its final one."""
        return True

    def pause(self, number: int) -> None:
        """Has a trial that does not go on wait, or end."""
        raise NotImplementedError("these trials all go on to their end")

    def close(self) -> None:
        """Ends the trials that wait, of which none goes on as long as there are no more trials."""
        for record in self.paused:
            self.end(record.number, "PRUNED")

    def end(self, number: int, status: Status, error: str | None = None) -> None:
        """Ends a trial as COMPLETED, PRUNED or FAILED; a second time is ignored."""
        if self.records[number].status in ("RUNNING", "PAUSED"):
            error = error and printable_lines(error)  # It tells of files, whose names may come from anyone.
            self._write(Ended(number, status, error, time.time()))

    def _write(self, event: Event) -> None:
        self.journal.append(event)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        take_in(self.records, event)
