"""The stages of a search as a tree: what several trials had in common was trained once and is one node."""

from collections.abc import Sequence
from dataclasses import dataclass

from results.journal.journal import TrialRecord
from results.reuse import trial_id
from trainable.history import EpochRow
from trainable.recipe import Stage


@dataclass(frozen=True)
class StageNode:
    """A stage as one trial trained it, on top of the stages above it in the tree."""

    index: int
    """Index of the stage, from 0."""
    trained_by: str
    """The `trial_id` of that trial."""
    trials: Sequence[TrialRecord]
    """Those that have epochs of it: that one, and those that took it over after the same stages."""
    rows: Sequence[EpochRow]
    """Its epochs, of the trial that has most of them."""
    following: Sequence["StageNode"]
    """What the trials trained next; the one of most trials first."""

    @property
    def stage(self) -> Stage:
        """What the recipe says of it."""
        return self.trials[0].stages[self.index]

    @property
    def shared(self) -> bool:
        """Whether a trial has it that did not train it."""
        return self.reused_epochs > 0

    @property
    def val_loss(self) -> float:
        """The lowest of its epochs."""
        return min(row.val_loss for row in self.rows)

    @property
    def reused_epochs(self) -> int:
        """Epochs that did not have to be trained, all trials together."""
        return sum(bool(row.shared_from) for trial in self.trials for row in _rows(trial, self.index))


def stage_tree(records: Sequence[TrialRecord]) -> list[StageNode]:
    """The first stages of all trials that have an epoch, those of most trials first.

    Two trials are on one node where one took the stage over from the other, or both from a third. Stages that are equal
    but were trained twice, since the trials ran at the same time, are two nodes.
    """
    return _nodes(records, 0)


def _nodes(records: Sequence[TrialRecord], index: int) -> list[StageNode]:
    groups: dict[str, list[TrialRecord]] = {}
    for record in records:
        if rows := _rows(record, index):
            groups.setdefault(rows[-1].shared_from or trial_id(record), []).append(record)
    nodes = [
        StageNode(index, name, trials, _longest(trials, index), _nodes(trials, index + 1))
        for name, trials in groups.items()
    ]
    return sorted(nodes, key=lambda node: (-len(node.trials), node.val_loss))


def _longest(trials: Sequence[TrialRecord], index: int) -> list[EpochRow]:
    return max((_rows(trial, index) for trial in trials), key=len)


def _rows(record: TrialRecord, index: int) -> list[EpochRow]:
    return [row for row in record.history if row.stage == index]
