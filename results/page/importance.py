"""How much each sampled parameter decided whether a trial was good, as Optuna weighs it."""

import warnings
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import get_param_importances

from results.journal.journal import TrialRecord

LOG_RATIO = 20
"""A parameter whose values span more than this factor is taken to have been sampled on a logarithmic scale."""


def compared(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials that have come to an end or a rung and had sampled parameters (the reference may have none).

    Most trials of a search wait at a rung: they count with their best epoch so far, as for the sampler.
    """
    return [
        record for record in records if record.status not in ("RUNNING", "FAILED") and record.best and record.parameters
    ]


def importances(records: Sequence[TrialRecord]) -> dict[str, float]:
    """Shares of importance by parameter, the greatest first, adding up to 1 (PED-ANOVA, arXiv 2304.10255).

    The study is made again from the journal, each parameter's distribution from the values that it took: the
    journal does not hold the space, and `optuna.db` lags behind it, may be locked or be missing.

    Args:
        records: of the search; see `compared` for which count. Empty with fewer than two, or where nothing varied.
    """
    trials = compared(records)
    distributions = {name: _distribution(values) for name, values in parameter_values(trials).items()}
    if len(trials) < 2 or not distributions:
        return {}
    study = optuna.create_study(direction="minimize")
    for record in trials:
        parameters = {name: _value(record.parameters[name], distributions[name]) for name in distributions
                      if name in record.parameters}  # fmt: skip
        study.add_trial(
            optuna.trial.create_trial(
                params=parameters,
                distributions={name: distributions[name] for name in parameters},
                value=record.objective,
            )
        )
    with warnings.catch_warnings():  # That few trials make it inaccurate, which the report says itself.
        warnings.simplefilter("ignore")
        weights = get_param_importances(study)
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()} if total > 0 else {}


def parameter_values(records: Iterable[TrialRecord]) -> dict[str, list[Any]]:
    """The distinct values that each parameter took, of those that took more than one."""
    taken: dict[str, dict[Any, None]] = {}
    for record in records:
        for name, value in record.parameters.items():
            # JSON makes a list of a tuple to choose.
            taken.setdefault(name, {})[value if isinstance(value, Hashable) else str(value)] = None
    return {name: list(values) for name, values in taken.items() if len(values) > 1}


def is_numeric(values: Iterable[Any]) -> bool:
    """Whether all are numbers, truth values not among them."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def is_logarithmic(values: Sequence[float]) -> bool:
    """Whether these numbers belong on a logarithmic scale."""
    return min(values) > 0 and max(values) > LOG_RATIO * min(values)


def _distribution(values: list[Any]) -> BaseDistribution:
    if not is_numeric(values):
        return CategoricalDistribution([str(value) for value in values])
    low, high, log = min(values), max(values), is_logarithmic(values)
    if all(isinstance(value, int) for value in values):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _value(value: Any, distribution: BaseDistribution) -> Any:
    return str(value) if isinstance(distribution, CategoricalDistribution) else value
