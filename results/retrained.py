"""Recipes that were trained again when the search was over: is the best one really better, and which model is taken?

They have a journal and tables of their own under `retrained/`. Why each was trained stands where a trial has its
parameters: `purpose`, the `trial` of the search whose recipe it is, and its `seed`.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev

import pandas as pd
from scipy.stats import t as student

from results.journal.journal import TrialRecord, best_trial, read_journal, trial_records
from trainable.metric import Metric

FOLDER = "retrained"
CONFIRM, FINAL = "confirm", "final"
"""With another seed, and for more epochs."""
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Confirmed:
    """A recipe of the search that was trained with other seeds as well."""

    trial: int
    """Whose recipe it is."""
    reference: bool
    metric: Metric
    found: float
    """The best value of that trial, which was picked for it."""
    values: tuple[float, ...]
    """The best with each of the other seeds, in their order; infinitely bad where training failed."""
    behind: tuple[float, float] | None
    """95 % interval of how much worse it is than the winner's with the same seed; None of the winner itself, and with
    fewer than two seeds."""

    @property
    def mean(self) -> float:
        """Of the values with other seeds."""
        return fmean(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the mean, by Student's t; None with fewer than two seeds, or where one failed.

        That of an mAP or F1 ends where these do, at 0 and 1.
        """
        found = _interval(self.values)
        return (max(found[0], 0.0), min(found[1], 1.0)) if found and self.metric.more_is_better else found

    @property
    def may_be_noise(self) -> bool:
        """Whether its distance to the winner may be that of seeds alone."""
        return self.behind is None or self.behind[0] <= 0


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The training whose model is taken."""

    record: TrialRecord
    """With the number of the search's trial whose recipe it is, and the epochs of this training."""
    folder: str
    """Where it lies in the run folder."""
    title: str
    """What its recipe is called."""


def read_retrained(run: Path) -> list[TrialRecord]:
    """What a run has trained again; nothing where there is no such journal.

    Raises:
        JournalError: the journal is damaged.
    """
    journal = run / FOLDER / "journal.jsonl"
    return trial_records(read_journal(journal)) if journal.is_file() else []


def of_purpose(retrained: Iterable[TrialRecord], purpose: str, trial: int | None = None) -> list[TrialRecord]:
    """Those that were trained for a purpose, of one trial or of all."""
    return [
        record
        for record in retrained
        if record.parameters.get("purpose") == purpose and trial in (None, record.parameters.get("trial"))
    ]


def confirmed(searched: Iterable[TrialRecord], retrained: Iterable[TrialRecord]) -> list[Confirmed]:
    """The recipes that were trained with every one of the other seeds, the best mean first.

    Args:
        searched: the trials of the search.
        retrained: what was trained again.
    """
    trained: dict[int, dict[int, TrialRecord]] = {}
    for record in of_purpose(retrained, CONFIRM):
        if record.status in ("COMPLETED", "FAILED"):
            of_trial = trained.setdefault(record.parameters["trial"], {})
            of_trial[record.parameters["seed"]] = _without_result_of_failed(record)
    seeds = sorted({seed for of_trial in trained.values() for seed in of_trial})
    whole = {trial: [got[seed] for seed in seeds] for trial, got in trained.items() if len(got) == len(seeds)}
    objectives = {trial: [record.objective for record in of_trial] for trial, of_trial in whole.items()}
    ranked = sorted(whole, key=lambda trial: (fmean(objectives[trial]), trial))
    trials = {record.number: record for record in searched}
    return [
        Confirmed(
            trial,
            trials[trial].reference,
            trials[trial].metric,
            trials[trial].compared,
            tuple(record.compared for record in whole[trial]),
            _interval([own - best for own, best in zip(objectives[trial], objectives[ranked[0]], strict=True)])
            if place
            else None,
        )
        for place, trial in enumerate(ranked)
    ]


def winner(searched: Sequence[TrialRecord], retrained: Sequence[TrialRecord]) -> TrialRecord | None:
    """The trial with the best recipe: by the mean over other seeds where there are some, else by its own loss."""
    found = confirmed(searched, retrained)
    if not found or not math.isfinite(found[0].mean):
        return best_trial(searched)
    return next(record for record in searched if record.number == found[0].trial)


def chosen(searched: Sequence[TrialRecord], retrained: Sequence[TrialRecord]) -> Chosen | None:
    """The training whose model is taken: the final one of the best recipe, unless the best of the others is better.

    Args:
        searched: the trials of the search.
        retrained: what was trained again.

    Returns:
        None where no trial has succeeded.
    """
    best = winner(searched, retrained)
    if best is None:
        return None
    choice = Chosen(best, f"trials/{best.number:04d}", "The best recipe")
    for record in of_purpose(retrained, CONFIRM, best.number):
        if record.status == "COMPLETED" and record.objective < choice.record.objective:
            choice = _again(record, best, f"The best recipe, with seed {record.parameters['seed']}")
    for record in of_purpose(retrained, FINAL, best.number):
        if record.status == "COMPLETED" and record.recipe and record.objective <= choice.record.objective:
            choice = _again(record, best, f"The best recipe, stretched to {record.recipe.epochs} epochs")
    return choice


def confirmed_table(found: Sequence[Confirmed]) -> pd.DataFrame:
    """One row a recipe that was trained with other seeds, the best first.

    Columns:
        trial, reference: whose recipe it is.
        val_loss, map or max_f1: what the search found.
        seeds, mean, low, high: how many other seeds, the mean of theirs and its 95 % interval.
        behind_low, behind_high: 95 % interval of how much worse they are than the winner's.
        may_be_noise: whether that interval holds 0; also where there is none.
    """
    missing = (None, None)
    return pd.DataFrame(
        [
            {
                "trial": each.trial,
                "reference": each.reference,
                each.metric.field: each.found,
                "seeds": len(each.values),
                "mean": each.mean,
                **dict(zip(("low", "high"), each.interval or missing, strict=True)),
                **dict(zip(("behind_low", "behind_high"), each.behind or missing, strict=True)),
                "may_be_noise": each.may_be_noise,
            }
            for each in found
        ]
    )


def _without_result_of_failed(record: TrialRecord) -> TrialRecord:
    return record if record.status == "COMPLETED" else dataclasses.replace(record, history=[], reported=[])


def _again(record: TrialRecord, best: TrialRecord, title: str) -> Chosen:
    return Chosen(dataclasses.replace(record, number=best.number), f"{FOLDER}/trials/{record.number:04d}", title)


def _interval(values: Sequence[float]) -> tuple[float, float] | None:
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    half = float(student.ppf((1 + LEVEL) / 2, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half
