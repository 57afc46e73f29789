"""Which trials go on at a rung and which do not: successive halving as a pure function of the journal's events.

A rung is an epoch at which trials are compared, by the best epoch that each has had until then. The reference
is compared to, and always goes on. Nothing here knows Ray: the same events give the same answers, live and replayed.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from results.journal.events import Asked, Ended, Event, Paused, Promoted, Reported
from results.rungs import rung_epochs

REFERENCE = 0
"""Number of the reference."""

PRUNINGS = ("promotion", "stopping")
"""What there is to choose from, see `rungs_of`."""


class Rungs(ABC):
    """The rungs of a search and who has reached which.

    Args:
        grace: epochs of the lowest rung.
        max_epochs: epochs that no trial exceeds; reaching them is a trial's own end.
        reduction: one trial in so many goes on past a rung.
    """

    def __init__(self, grace: int, max_epochs: int, reduction: float):
        self.reduction = reduction
        self.epochs = rung_epochs(grace, max_epochs, reduction)
        self._losses: list[dict[int, float]] = [{} for _ in self.epochs]
        """Of each rung, by the numbers of the trials that reached it."""

    promote: ClassVar[bool]
    """Whether a trial that does not go on at a rung waits there."""

    @abstractmethod
    def take_in(self, event: Event) -> None:
        """Brings the rungs up to date; to be called with all events in their order."""

    @abstractmethod
    def ends(self, trial: int, epoch: int) -> bool:
        """Whether a trial that has just reported this epoch goes no further unless it is promoted."""

    def goes_on(self, trial: int) -> bool:
        """Whether a trial that has just come to its rung is to be promoted on the spot."""
        return False

    def next(self) -> int | None:
        """The paused trial to go on with now, before any new one; None where there is none."""
        return None

    def last(self) -> int | None:
        """The paused trial to go on with when no new ones come; None where there is none at present."""
        return None

    def at_lowest(self) -> dict[int, float]:
        """The losses of the trials that have come to the lowest rung, by their numbers; of those without rungs none."""
        return dict(self._losses[0]) if self._losses else {}

    def reached(self, epoch: int) -> int | None:
        """Index of the rung that a trial comes to with this epoch; None within rungs."""
        return self.epochs.index(epoch) if epoch in self.epochs else None


class Stopping(Rungs):
    """Trials stop for good: ASHA as Ray Tune ships it, by the rung's own epoch.

    A trial goes on unless it is worse than the best of those that were there before it, one in `reduction`. Runs from
    before there was `Promotion` go on by it.

    Attributes:
        stopped: trials that were told to stop.
    """

    promote = False

    def __init__(self, grace: int, max_epochs: int, reduction: float):
        super().__init__(grace, max_epochs, reduction)
        self.stopped: set[int] = set()

    def take_in(self, event: Event) -> None:
        if not isinstance(event, Reported) or (rung := self.reached(event.metrics.epoch)) is None:
            return
        loss, losses = event.metrics.objective, self._losses[rung]
        # In the very steps of Ray's, so that an old run's ties fall as they would have.
        cutoff = (
            np.nanpercentile([-other for other in losses.values()], (1 - 1 / self.reduction) * 100) if losses else None
        )
        if cutoff is not None and -loss < cutoff and event.trial != REFERENCE:
            self.stopped.add(event.trial)
        losses[event.trial] = loss

    def ends(self, trial: int, epoch: int) -> bool:
        return trial in self.stopped and self.reached(epoch) is not None


class Promotion(Rungs):
    """Trials pause, and go on when they are among the best of their rung: ASHA as published (arXiv 1810.05934).

    Of `n` trials that reached a rung, the best `n / reduction` go on, and never more than so many, as in delayed ASHA
    (arXiv 2201.06834): a trial that was promoted too early is not followed by all that overtake it. A trial that is one
    of them when it comes to the rung does not pause.

    An mAP or F1 is the same for many trials, as 0 is where nothing is found yet: where `equals_go_on`, all go on that
    are the equals of the last one that does.

    When no new trials come, workers have nothing to do while the last ones are trained. Then the best of those that
    wait go on to their next rung, as far as they get there no later than another trial gets to its own.
    """

    promote = True

    def __init__(self, grace: int, max_epochs: int, reduction: float, equals_go_on: bool = False):
        super().__init__(grace, max_epochs, reduction)
        self._equals_go_on = equals_go_on
        self._best: dict[int, float] = {}
        self._waiting: dict[int, int] = {}
        """Rungs of the trials that have paused and may go on, by their numbers."""
        self._promoted: list[set[int]] = [set() for _ in self.epochs]
        self._at: dict[int, int] = {}
        """The last rung that each trial has reached."""
        self._max_epochs = max_epochs
        self._trained: dict[int, int] = {}
        """Epochs of the trials that are being trained."""
        self._filling: set[int] = set()
        """Those of them that go on only since there was nothing else to do."""

    def take_in(self, event: Event) -> None:
        trial = event.trial
        if isinstance(event, Asked):
            self._trained[trial] = 0
        elif isinstance(event, Reported):
            self._trained[trial] = event.metrics.epoch
            self._best[trial] = min(event.metrics.objective, self._best.get(trial, event.metrics.objective))
            if (rung := self.reached(event.metrics.epoch)) is not None:
                self._losses[rung][trial], self._at[trial] = self._best[trial], rung
        elif isinstance(event, Paused):
            self._waiting[trial] = self._at[trial]
        elif isinstance(event, Promoted):
            self._trained[trial] = self.epochs[self._at[trial]]
            if trial not in self._chosen(self._at[trial]) and trial != self._best_if_waiting():
                self._filling.add(trial)
            self._promoted[self._at[trial]].add(trial)
            self._waiting.pop(trial, None)
        elif isinstance(event, Ended) and event.status != "PRUNED":
            self._waiting.pop(trial, None)
            if event.status == "FAILED":
                self._best.pop(trial, None)
        if isinstance(event, Paused | Ended):
            self._trained.pop(trial, None)
            self._filling.discard(trial)

    def ends(self, trial: int, epoch: int) -> bool:
        rung = self.reached(epoch)
        return rung is not None and trial != REFERENCE and trial not in self._promoted[rung]

    def goes_on(self, trial: int) -> bool:
        return trial in self._chosen(self._at[trial])

    def next(self) -> int | None:
        """The best of the highest rung that has one to promote."""
        for rung in reversed(range(len(self.epochs))):
            waiting = [trial for trial in self._chosen(rung) if self._waiting.get(trial) == rung]
            if waiting:
                return waiting[0]
        return None

    def last(self) -> int | None:
        """The best of all trials, if that is paused, so that it is always trained to its own end.

        Otherwise one that fills in where a worker would wait.
        """
        best = self._best_if_waiting()
        return self._next_to_fill_in() if best is None else best

    def _best_if_waiting(self) -> int | None:
        best = min(self._best, key=lambda trial: (self._best[trial], trial), default=None)
        return best if best in self._waiting else None

    def _next_to_fill_in(self) -> int | None:
        """The best of the trials that come to their next rung before another one that is being trained does."""
        time = max((self._epochs_left(trial) for trial in self._trained.keys() - self._filling), default=0)
        fitting = [trial for trial, rung in self._waiting.items() if self._stop_after(rung) - self.epochs[rung] <= time]
        return min(fitting, key=lambda trial: (self._best[trial], trial), default=None)

    def _epochs_left(self, trial: int) -> int:
        """Epochs until a trial may have to wait, or is at its end."""
        trained = self._trained[trial]
        stops = [] if trial == REFERENCE else [epoch for epoch in self.epochs if epoch > trained]
        return min([*stops, self._max_epochs]) - trained

    def _stop_after(self, rung: int) -> int:
        """The epoch of the rung above, or of the end."""
        return [*self.epochs, self._max_epochs][rung + 1]

    def _chosen(self, rung: int) -> Sequence[int]:
        """The trials of a rung that may be promoted, the best first; none where enough have been."""
        losses = self._losses[rung]
        places = int(len(losses) / self.reduction)
        if self._equals_go_on and places:
            last = sorted(losses.values())[places - 1]
            places = sum(loss <= last for loss in losses.values())
        if len(self._promoted[rung]) >= places:
            return []
        ranked = sorted(losses, key=lambda trial: (losses[trial], trial))
        return [trial for trial in ranked[:places] if trial not in self._promoted[rung] and trial != REFERENCE]


def rungs_of(pruning: str, grace: int, max_epochs: int, reduction: float, equals_go_on: bool = False) -> Rungs:
    """The rungs of one of `PRUNINGS`; where trials stop, the equals of those that go on always do."""
    if pruning == "promotion":
        return Promotion(grace, max_epochs, reduction, equals_go_on)
    return Stopping(grace, max_epochs, reduction)
