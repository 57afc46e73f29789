"""Epochs that a search did not train again, since another trial had trained them already."""

from collections.abc import Sequence
from dataclasses import dataclass

from results.journal.journal import TrialRecord
from trainable.history import EpochRow


@dataclass(frozen=True)
class Reuse:
    """What sharing stages saved a search."""

    reported: int
    """Epochs of all trials."""
    reused: int
    """How many of them a trial took over from another one."""
    seconds_saved: float
    """What these took where they were trained, once for every trial that took them over."""

    @property
    def trained(self) -> int:
        """Epochs that somebody trained."""
        return self.reported - self.reused


def reuse(records: Sequence[TrialRecord]) -> Reuse:
    """What the trials took over from one another, and the training that it saved.

    An epoch whose trial is not among `records` counts as reused, but with no time.
    """
    taken_over = [row for record in records for row in reused_rows(record)]
    sources = {row.shared_from for row in taken_over}
    seconds = {name: _seconds_by_epoch(record) for record in records if (name := trial_id(record)) in sources}
    saved = sum(seconds.get(row.shared_from or "", {}).get(row.epoch, 0.0) for row in taken_over)
    return Reuse(sum(len(record.history) for record in records), len(taken_over), saved)


def reused_rows(record: TrialRecord) -> list[EpochRow]:
    """The epochs that a trial took over from others."""
    return [row for row in record.history if row.shared_from]


def trial_id(record: TrialRecord) -> str:
    """The trial's number in four digits: the name of its folder, and what `shared_from` holds."""
    return f"{record.number:04d}"


def _seconds_by_epoch(record: TrialRecord) -> dict[int, float]:
    """How long each of a trial's own epochs took; 0 for one that it took over itself."""
    before = [0.0, *(row.seconds for row in record.history)]
    return {row.epoch: row.seconds - start for row, start in zip(record.history, before, strict=False)}
