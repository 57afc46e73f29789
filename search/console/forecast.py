"""What a search will take, told once: as soon as the reference has had an epoch in which all of the model trains."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from results.formatting import duration, gib
from results.journal.journal import TrialRecord
from search.options import Options
from trainable.recipe import PARTS

WORTH_TELLING = 60.0
"""Seconds; a shorter search is over before its end is looked forward to."""


class Forecast:
    """Tells it.

    Args:
        options: say how many trials there are, and how soon they may be pruned.
        concurrent: trials at a time.
        say: called with the line.
    """

    def __init__(self, options: Options, concurrent: int, say: Callable[[str], None]):
        self._options = options
        self._concurrent = max(1, concurrent)
        self._say = say
        self._told = False

    def tick(self, reference: TrialRecord | None, memory: tuple[int, int] | None) -> None:
        """Tells it if it can be known by now.

        Args:
            reference: trial 0, which is never pruned.
            memory: bytes that it has taken at most, and that there are; None before it has reported an epoch.
        """
        if self._told or not memory or not reference or not _all_has_trained(reference):
            return
        ends = [0.0, *(row.seconds for row in reference.history)]
        epochs = [end - start for start, end in pairwise(ends)]
        asked = self._options
        search = expected_seconds(epochs, asked.trials, asked.max_epochs, asked.grace, asked.reduction)
        self._told = True
        if search / self._concurrent < WORTH_TELLING:
            return
        self._say(
            f"where all of the model trains, a trial takes {gib(memory[0])} of {gib(memory[1])} of memory and "
            f"{duration(epochs[-1])} an epoch; the search takes about {duration(search / self._concurrent)}"
        )


def _all_has_trained(trial: TrialRecord) -> bool:
    return any(set(trial.stages[row.stage].trainable) == set(PARTS) for row in trial.history)


def expected_seconds(epochs: Sequence[float], trials: int, max_epochs: int, grace: int, reduction: float) -> float:
    """Seconds of all trials together, one after the other.

    The reference has all epochs. Of the others, one in `reduction` goes on past each rung: after `grace` epochs,
    `reduction` times as many, and so on.

    Args:
        epochs: seconds of a trial's first epochs, at least one; those that follow take as long as the last of them.
        trials: with the reference.
        max_epochs: of a trial at most.
        grace: epochs before a trial may be pruned.
        reduction: see there.
    """
    total, going_on, rung = 0.0, trials - 1.0, float(grace)
    for epoch in range(1, max_epochs + 1):
        total += (1 + going_on) * epochs[min(epoch, len(epochs)) - 1]
        if epoch >= rung:
            going_on, rung = going_on / reduction, rung * reduction
    return total
