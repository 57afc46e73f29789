"""When a search has nothing more to expect, by what it has found so far: `--patience-epochs`.

A recipe trained with another seed comes out a little better or worse. A search that would gain less than that by going
on is over for whoever asked it to end then.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy.stats import norm

from trainable.metric import METRICS, VAL_LOSS

AUTO = "auto"
WORDS = f"{AUTO}, or a whole number of epochs from 1 on"
LEAST_DRAWN = 12
"""Recipes that a search has drawn before what it draws says anything of others."""


@dataclass(frozen=True)
class Scale:
    """On which another seed moves what a search lowers by about as much wherever it stands."""

    place: Callable[[float], float]
    """Where a value stands on it."""
    noise: float
    """The standard deviation between seeds: the median over recipes on two data sets (`benchmarks/README.md`)."""
    told: Callable[[float], str]
    """A distance on it, as a person reads it."""


def _log(loss: float) -> float:
    return math.log(max(loss, 1e-300))


def _share(distance: float) -> str:
    return f"{-math.expm1(-distance):.1%}"


def _difference(distance: float) -> str:
    return f"{distance:.3f}"


SCALES = {
    VAL_LOSS: Scale(_log, math.log(1.049), _share),
    "map": Scale(float, 0.008, _difference),
    "f1": Scale(float, 0.021, _difference),
}
"""Of each of `METRICS`: losses by their share, mAP and F1 by their difference."""


@dataclass(frozen=True)
class Verdict:
    """That a search has nothing more to expect, and what is saved thereby."""

    why: str
    epochs: float
    """Trial-epochs that the rest would have taken, by what trials have taken so far."""

    def __str__(self) -> str:
        return f"{self.why}; about {self.epochs:.0f} epochs of training are saved"


def is_patience(text: str) -> bool:
    """Whether this is what `--patience-epochs` takes."""
    return text == AUTO or (text.isdecimal() and int(text) > 0)


def verdict(
    patience: str,
    bests: Sequence[float],
    at_rung: Sequence[float],
    drawn: Sequence[float],
    left: int,
    trials: int,
    metric: str = VAL_LOSS,
) -> Verdict | None:
    """Whether a search is over, as `auto` or a number of epochs decides.

    Args:
        patience: `auto`: over where all trials that are left are expected to lower the loss by less than another seed
            moves it. A number: over where so many epochs have lowered it by less.
        bests: the lowest loss after each trial-epoch, of any trial, in the order in which they were reported.
        at_rung: the losses of all trials at the lowest rung, where the trials are compared that `auto` judges by.
        drawn: of these, the losses of recipes that a sampler has drawn.
        left: trials that have not been asked for yet.
        trials: those that have.
        metric: one of `METRICS`; the losses are its `objective`.

    Returns:
        None where it goes on.
    """
    if not left:
        return None
    scale, what = SCALES[metric], METRICS[metric].lowered
    noise = f"less than the {scale.told(scale.noise)} that another seed moves it"
    if patience != AUTO:
        epochs = int(patience)
        if len(bests) <= epochs or scale.place(bests[-1 - epochs]) - scale.place(bests[-1]) >= scale.noise:
            return None
        why = f"{epochs} epochs have lowered {what} by {noise}"
    else:
        if len(drawn) < LEAST_DRAWN:
            return None
        gain = expected_gain(list(map(scale.place, drawn)), scale.place(min(at_rung)), left)
        if gain >= scale.noise:
            return None
        why = f"{left} more trials are expected to lower {what} by {scale.told(gain)}, {noise}"
    return Verdict(why, left * len(bests) / trials)


def expected_gain(drawn: Sequence[float], best: float, more: int) -> float:
    """By how much the lowest of `more` draws is expected to lie below the best so far, at least 0.

    The draws are taken as those of a normal distribution with the mean and deviation of what was drawn.

    Args:
        drawn: places of losses on a scale, at least two.
        best: that of the lowest loss.
        more: draws, at least 1.
    """
    deviation = stdev(drawn)
    if not deviation:
        return 0.0
    below = np.linspace(-9.0, (best - fmean(drawn)) / deviation, 2001)
    # The chance that one of them at least lies below each of these.
    chances = -np.expm1(more * np.log1p(-norm.cdf(np.minimum(below, 8.0))))
    return float(np.trapezoid(chances, below)) * deviation
