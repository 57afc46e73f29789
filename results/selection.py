"""How much better the best trial looks than it is, for having been picked as the best on few pairs.

The lowest of many losses is low by luck too. By how much is estimated by Efron's bootstrap, of the whole selection: the
validation pairs are drawn anew, with replacement, the best trial is picked by these, and its loss there is compared to
its loss on the pairs as they are. What picking each trial's best epoch adds is not in it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from results.formatting import count, figure
from results.journal.journal import TrialRecord, metric_of
from trainable.metric import METRICS, VAL_LOSS
from trainable.storage.durable_file import write_atomically
from trainable.storage.mirror import Mirror
from trainable.training.validation_terms import losses_of, read_terms, terms_path

FILE = "selection.json"
RESAMPLES = 1000
MOST = 100
"""Trials at most among which is picked, the best: the others would hardly be on any pairs."""


@dataclass(frozen=True)
class Selection:
    """What picking the lowest `val_loss` has added to it."""

    trial: int
    """The one that was picked."""
    val_loss: float
    optimism: float
    """How much higher its loss is to be expected on other pairs; at least 0."""
    trials: int
    """Of which it was picked."""
    pairs: int

    def __str__(self) -> str:
        expected = figure(self.val_loss + self.optimism)
        return (
            f"val_loss {figure(self.val_loss)} is the lowest of {count(self.trials, 'trial')} on "
            f"{count(self.pairs, 'pair')}, and low by luck too: on other pairs about {expected} is to be expected"
        )

    def write(self, run: Path) -> None:
        """Writes it into the run folder."""
        write_atomically(run / FILE, json.dumps(asdict(self), indent=2) + "\n")


def selection(run: Path, records: Sequence[TrialRecord], mirror: Mirror | None = None) -> Selection | None:
    """What picking the best trial of a search has added to its loss.

    Args:
        run: the run folder, in which trials keep what each validation pair adds to their losses.
        records: its trials.
        mirror: of the run, where that lies in a remote storage.

    Raises:
        StorageError: the remote storage cannot be used or reached.

    Returns:
        None where fewer than two trials have kept it, as those of earlier versions have not, or there is one pair, or
        trials are compared by another metric than the loss.
    """
    sound = [record for record in records if record.status != "FAILED" and record.best]
    if metric_of(records) != METRICS[VAL_LOSS]:
        return None
    ranked = sorted(sound, key=attrgetter("objective"))[:MOST]
    picked: list[TrialRecord] = []
    terms: list[NDArray[np.float64]] = []
    for record in ranked:
        folder = run / "trials" / f"{record.number:04d}"
        if mirror:
            mirror.pull(terms_path(folder))
        kept = read_terms(folder, record.best.epoch) if record.best else None
        if kept is not None and (not terms or len(kept) == len(terms[0])):
            picked.append(record)
            terms.append(kept)
    if len(picked) < 2 or picked[0] is not ranked[0] or len(terms[0]) < 2:
        return None
    optimism = optimism_of(np.stack(terms))
    return Selection(picked[0].number, picked[0].compared, optimism, len(picked), len(terms[0]))


def optimism_of(terms: NDArray[np.float64], seed: int = 0) -> float:
    """By how much the lowest loss of several models on the same pairs is too low, on the average; at least 0.

    Args:
        terms: [models, pairs, 4], see `trainable.detector.loss.image_terms`.
        seed: of the draws.
    """
    _, pairs, _ = terms.shape
    times = np.random.default_rng(seed).multinomial(pairs, np.full(pairs, 1 / pairs), size=RESAMPLES)
    # One model after the other: [resamples, models, pairs] would be gigabytes.
    resampled = np.stack([losses_of(times @ of_model) for of_model in terms])  # [models, resamples]
    as_it_is = losses_of(terms.sum(1))
    chosen = resampled.argmin(0)
    return max(0.0, float((as_it_is[chosen] - resampled[chosen, np.arange(RESAMPLES)]).mean()))
