"""How recipes are drawn: the sampler, and what it is shown of the trials so far."""

import contextlib
import warnings
from collections.abc import Container, Iterator, Sequence

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

SAMPLERS = ("tpe", "random")
RANDOM_TRIALS = 6
"""Trials that TPE draws at random before it models them."""

ALL_UP_TO = 500
"""So many trials that TPE can learn from are all modelled."""
BEST, OTHERS = 25, 225
"""Of more, so many. Optuna's TPE draws near the best tenth, but near no more than 25 trials, and away from the others;
its time for a draw grows with all of them."""


class SearchedTrials(InMemoryStorage):
    """The trials of a study in memory, of which a sampler can be shown a part.

    Args:
        bounded: show no more than a part of more than `ALL_UP_TO` trials.
    """

    def __init__(self, bounded: bool = True):
        super().__init__()
        self.bounded = bounded
        self._best: list[FrozenTrial] = []
        self._shown: list[FrozenTrial] | None = None

    @contextlib.contextmanager
    def for_sampler(self, study: optuna.Study) -> Iterator[None]:
        """While this lasts, the best trials, others evenly spread over the search, and all that run are all there are.

        The same trials, ended in the same order, give the same part.
        """
        ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if self.bounded and len(ended) > ALL_UP_TO:
            running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            best = {trial.number for trial in self._best}
            others = [trial for trial in ended if trial.number not in best]
            evenly = [others[index * len(others) // OTHERS] for index in range(OTHERS)]
            self._shown = sorted([*self._best, *evenly, *running], key=lambda trial: trial.number)
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

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Keeps, beside what it does, the best trials."""
        changed = super().set_trial_state_values(trial_id, state, values)
        if state in (TrialState.COMPLETE, TrialState.PRUNED):
            self._best = sorted([*self._best, self.get_trial(trial_id)], key=_rank)[:BEST]
        return changed


def _rank(trial: FrozenTrial) -> tuple[float, ...]:
    """As Optuna's TPE ranks them: those that were completed by their value, then those that got furthest."""
    if trial.state == TrialState.COMPLETE:
        return -float("inf"), trial.values[0]
    step, value = max(trial.intermediate_values.items(), default=(-1, 0.0))
    return -step, value


def sampler_of(name: str, seed: int) -> BaseSampler:
    """A sampler of `SAMPLERS`."""
    if name == "random":
        return RandomSampler(seed=seed)
    # `group` is marked experimental since Optuna 2.8; without it, conditional parameters are sampled independently.
    warnings.filterwarnings("ignore", category=ExperimentalWarning)
    return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True, n_startup_trials=RANDOM_TRIALS)
