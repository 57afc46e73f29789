"""How recipes are drawn: the samplers, and what they are shown of the trials so far."""

import contextlib
import copy
import heapq
import json
import warnings
from collections.abc import Container, Iterator, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from trainable.text.shown import printable

SAMPLERS = ("tpe", "random")
RANDOM_TRIALS = 6
"""Trials that TPE draws at random before it models them."""

ALL_UP_TO = 500
"""So many trials that TPE can learn from are all modelled."""
BEST, OTHERS = 25, 225
"""Of more, so many. Optuna's TPE draws near the best tenth, but near no more than 25 trials, and away from the others;
its time for a draw grows with all of them."""

SEEN = (TrialState.COMPLETE, TrialState.PRUNED)
"""States of the trials that a sampler learns from."""


class SearchedTrials(InMemoryStorage):
    """The trials of a study in memory, and how a sampler sees them.

    Optuna lets nothing be told of a trial that has ended, and a trial that waits at a rung may be promoted. So it runs
    on in memory, and has ended in the eyes of the sampler alone, with its lowest loss so far. (As one that was pruned,
    it would be held for worse than every trial that was trained to its end, the reference before all.)

    Args:
        bounded: show no more than a part of more than `ALL_UP_TO` trials.
    """

    def __init__(self, bounded: bool = True):
        super().__init__()
        self.bounded = bounded
        self._set_aside: dict[int, FrozenTrial] = {}
        self._ranks: dict[int, tuple[float, ...]] = {}
        self._shown: list[FrozenTrial] | None = None

    def set_aside(self, trial: optuna.Trial) -> None:
        """Shows a trial to samplers as completed where it stands now."""
        seen = copy.copy(self.get_trial(trial._trial_id))
        seen.state, seen.values = TrialState.COMPLETE, [min(seen.intermediate_values.values())]
        self._set_aside[trial.number] = seen

    def take_up(self, trial: optuna.Trial) -> None:
        """Shows a trial to samplers as running again."""
        self._set_aside.pop(trial.number, None)
        self._ranks.pop(trial.number, None)

    @contextlib.contextmanager
    def for_sampler(self, study: optuna.Study) -> Iterator[None]:
        """While this lasts, what a sampler is shown is all there is.

        That is every trial; of many, the best ones, others evenly spread over the search, and all that run. The same
        trials with the same losses give the same part.
        """
        trials = [self._set_aside.get(trial.number, trial) for trial in study.get_trials(deepcopy=False)]
        ended = [trial for trial in trials if trial.state in SEEN]
        if self.bounded and len(ended) > ALL_UP_TO:
            running = [trial for trial in trials if trial.state == TrialState.RUNNING]
            best = heapq.nsmallest(BEST, ended, key=self._rank)
            numbers = {trial.number for trial in best}
            others = [trial for trial in ended if trial.number not in numbers]
            evenly = [others[index * len(others) // OTHERS] for index in range(OTHERS)]
            trials = sorted([*best, *evenly, *running], key=lambda trial: trial.number)
        self._shown = trials
        try:
            yield
        finally:
            self._shown = None

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials of these states, those that wait always, of the others those that are shown."""
        if self._shown is None or states == (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        return [trial for trial in self._shown if states is None or trial.state in states]

    def _rank(self, trial: FrozenTrial) -> tuple[float, ...]:
        """As Optuna's TPE ranks them: those that were completed by their value, then those that got furthest."""
        if trial.number not in self._ranks:
            if trial.state == TrialState.COMPLETE:
                rank: tuple[float, ...] = (-float("inf"), trial.values[0])
            else:
                step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
                rank = -step, value
            self._ranks[trial.number] = rank
        return self._ranks[trial.number]


def sampler_of(name: str, seed: int) -> BaseSampler:
    """A sampler of `SAMPLERS`."""
    if name == "random":
        return RandomSampler(seed=seed)
    # `group` is marked experimental since Optuna 2.8; without it, conditional parameters are sampled independently.
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=RANDOM_TRIALS)


def seed_of(seed: int, trial: int) -> int:
    """The seed of a trial's draw, so that it depends on nothing but what the sampler is shown."""
    return int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])


class OneByOne(BaseSampler):
    """Draws each parameter by itself, without regard to other trials."""

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}


class Journalled(OneByOne):
    """Draws what a journal holds, and at random what it does not hold, or what a space no longer offers.

    Args:
        parameters: of the journal.
        seed: of what is drawn at random.
    """

    def __init__(self, parameters: Mapping[str, Any], seed: int):
        self._parameters = parameters
        self._otherwise = RandomSampler(seed=seed)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The journal's value of the parameter, if there is one and it may have it."""
        name = printable(param_name)
        if name in self._parameters and (values := offered(param_distribution, self._parameters[name])):
            return values[0]
        return self._otherwise.sample_independent(study, trial, param_name, param_distribution)


def as_kept(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What was drawn, as a journal keeps it: by names that can be printed, since a user's space may have any, and
    with lists where there were tuples."""
    kept: dict[str, Any] = json.loads(json.dumps({printable(name): value for name, value in parameters.items()}))
    return kept


def offered(distribution: BaseDistribution, kept: Any) -> list[Any]:
    """What a parameter may be that a journal keeps so; nothing where it may not."""
    if isinstance(distribution, CategoricalDistribution):
        return [choice for choice in distribution.choices if json.dumps(choice) == json.dumps(kept)]
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    return [kept] if isinstance(kept, int | float) and distribution.low <= kept <= distribution.high else []
