"""One search as its clock and its events tell it, whichever program ran it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

ASKED, REPORTED = "asked", "reported"
"""Kinds of events as a journal names them; all others are told by their time alone."""


@dataclass(frozen=True)
class Moment:
    """An event of a search."""

    kind: str
    trial: int
    time: float
    """Seconds since 1970."""
    epoch: int = 0
    """Of the trial, from 1; 0 where nothing was reported."""
    val_loss: float = math.inf
    """Of that epoch."""


@dataclass(frozen=True)
class TimedSearch:
    """A search that ran one trial at a time.

    Trials may be paused, and go on when others have run: an epoch is told by its trial and its number.
    """

    started: float
    """Seconds since 1970."""
    seconds: float
    """From the start of its process to its exit."""
    moments: Sequence[Moment]
    """In the order of their times."""

    @property
    def epochs(self) -> int:
        """Trial-epochs reported, each counted once."""
        return len({(moment.trial, moment.epoch) for moment in self.moments if moment.kind == REPORTED})

    @property
    def final_loss(self) -> float:
        """The lowest `val_loss` of all epochs."""
        return min(moment.val_loss for moment in self.moments)

    def epochs_to(self, val_loss: float) -> float:
        """Trial-epochs until a loss as low as this was reported; infinite where none was."""
        seen = set()
        for moment in self.moments:
            if moment.kind == REPORTED:
                seen.add((moment.trial, moment.epoch))
                if moment.val_loss <= val_loss:
                    return len(seen)
        return math.inf

    def seconds_to(self, val_loss: float) -> float:
        """Seconds from the start until a loss as low as this was reported; infinite where none was."""
        reached = (moment.time for moment in self.moments if moment.val_loss <= val_loss)
        return min(reached, default=math.inf) - self.started

    def row(self) -> dict[str, float]:
        """What a table says of it; the phases, in seconds, add up to the whole."""
        first_epochs, later, between, before = [], 0.0, 0.0, self.moments[0].time
        seen = set()
        for moment in self.moments[1:]:
            # With one trial at a time, what has passed since the event before is this event's.
            taken, before = moment.time - before, moment.time
            if moment.kind != REPORTED:
                between += taken
            elif moment.trial in seen:
                later += taken
            else:
                seen.add(moment.trial)
                first_epochs.append(taken)
        return {
            "trials": len({moment.trial for moment in self.moments if moment.kind == ASKED}),
            "trial-epochs": self.epochs,
            "seconds in all": self.seconds,
            "  until the first trial is asked for": self.moments[0].time - self.started,
            "  the first trial's first epoch": first_epochs[0],
            "  the other trials' first epochs": sum(first_epochs[1:]),
            "  all later epochs": later,
            "  between trials": between,
            "  after the last trial": self.started + self.seconds - before,
            "seconds a trial-epoch": self.seconds / self.epochs,
            "seconds to a later trial's first epoch": median(first_epochs[1:] or first_epochs),
            "final val_loss": self.final_loss,
        }


def without_judging(started: float, seconds: float, lines: Iterable[Mapping[str, Any]]) -> TimedSearch:
    """A search as it would have been had nobody judged its models after each epoch.

    Args:
        started: seconds since 1970.
        seconds: that its process took.
        lines: its events as `hf_search.py` writes them; `judging_seconds` stands where a model was judged.
    """
    moments, judging = [], 0.0
    for line in lines:
        told = dict(line)
        judging += told.pop("judging_seconds", 0.0)
        moments.append(Moment(told.pop("event"), **told | {"time": told["time"] - judging}))
    return TimedSearch(started, seconds - judging, moments)


def medians(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Row by row the median of several; of two, one of which is infinite, that is infinite."""
    taken = list(rows)
    return {name: float(np.median([row[name] for row in taken])) for name in taken[0]}
