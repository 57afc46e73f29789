"""What a sampler is shown of the trials so far."""

import math
from itertools import pairwise

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

import search.sampling
from search.sampling import BEST, OTHERS, SearchedTrials, sampler_of


class Watching(RandomSampler):
    """Draws at random, and keeps what a sampler could have learnt from."""

    def sample_independent(self, study, trial, name, distribution):
        self.seen = study.get_trials(deepcopy=False)
        return super().sample_independent(study, trial, name, distribution)


class Search:
    """Asks and tells as a search does: one trial in three is completed, the others are pruned at various epochs."""

    def __init__(self, sampler: BaseSampler, bounded: bool = True):
        self.memory = SearchedTrials(bounded)
        self.study = optuna.create_study(storage=self.memory, sampler=sampler)

    def ask(self) -> optuna.Trial:
        with self.memory.for_sampler(self.study):
            trial = self.study.ask()
            trial.suggest_float("x", 1e-5, 1, log=True)
            if trial.suggest_categorical("kind", ["a", "b"]) == "b":
                trial.suggest_int("depth", 1, 9)
            return trial

    def tell(self, trial: optuna.Trial) -> None:
        value = abs(math.log10(trial.params["x"]) + 3) + trial.params.get("depth", 4) / 10
        trial.report(value, step=1 + trial.number % 3)
        if trial.number % 3:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, value)

    def run(self, trials: int) -> list[dict]:
        for _ in range(trials):
            self.tell(self.ask())
        return [trial.params for trial in self.study.get_trials(deepcopy=False)]


@pytest.fixture
def few(monkeypatch):
    """So that a test needs few trials: 60 are modelled whole, of more the best 5 and 15 others."""
    for name, value in (("ALL_UP_TO", 60), ("BEST", 5), ("OTHERS", 15)):
        monkeypatch.setattr(search.sampling, name, value)


def test_up_to_500_trials_tpe_draws_as_optunas_own_does(monkeypatch):
    drawn = Search(sampler_of("tpe", seed=3)).run(502)
    plain = Search(sampler_of("tpe", seed=3))
    monkeypatch.setattr(SearchedTrials, "get_all_trials", InMemoryStorage.get_all_trials)
    unbounded = plain.run(502)
    assert drawn[:501] == unbounded[:501] and drawn[501] != unbounded[501]


def test_a_run_begun_before_draws_as_it_did(few):
    now, before = (Search(sampler_of("tpe", seed=3), bounded).run(70) for bounded in (True, False))
    assert now[:61] == before[:61] and now[61:] != before[61:]


def test_of_many_trials_the_sampler_sees_the_best_those_that_run_and_others_from_all_along():
    watching = Watching(seed=0)
    searched = Search(watching)
    searched.run(300)
    running = [searched.ask() for _ in range(3)]
    searched.run(1500)
    trials = searched.study.get_trials(deepcopy=False)
    searched.ask()
    seen = watching.seen
    assert [trial.number for trial in seen] == sorted({trial.number for trial in seen})
    assert {trial.number for trial in seen if trial.state == TrialState.RUNNING} == {t.number for t in running}
    assert len(seen) == BEST + OTHERS + len(running)
    completed = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda trial: trial.value)
    best = {trial.number for trial in completed[:BEST]}
    assert best <= {trial.number for trial in seen}
    others = [t.number for t in seen if t.number not in best and t.state != TrialState.RUNNING]
    gaps = [after - before for before, after in pairwise(others)]
    assert others[0] < 20 and others[-1] > len(trials) - 20 and max(gaps) < 20
    assert len(searched.study.get_trials()) == len(trials) + 1, "nothing is lost to whoever is no sampler"


def test_the_best_are_those_that_optuna_draws_near_though_few_are_completed(few):
    """Optuna has the completed ones first, then those that got furthest: with two of them, three are pruned ones."""
    watching = Watching(seed=0)
    searched = Search(watching)
    for number in range(90):
        trial = searched.ask()
        trial.report(100.0 - number, step=9 if number in (10, 30, 50) else 1)
        if number in (20, 40):
            searched.study.tell(trial, 1000.0 - number)
        else:
            searched.study.tell(trial, state=TrialState.PRUNED)
    searched.ask()
    below, _ = optuna.samplers._tpe.sampler._split_trials(searched.study, watching.seen, 5)
    assert [trial.number for trial in below] == [10, 20, 30, 40, 50]


def test_a_trial_that_waits_with_parameters_gets_them(few):
    searched = Search(sampler_of("tpe", seed=0))
    searched.run(80)
    searched.study.enqueue_trial({"x": 0.125, "kind": "a"})
    assert searched.ask().params == {"x": 0.125, "kind": "a"}


def test_a_trial_that_failed_is_not_learnt_from(few):
    watching = Watching(seed=0)
    searched = Search(watching)
    for _ in range(70):
        searched.study.tell(searched.ask(), state=TrialState.FAIL)
    searched.run(80)
    searched.ask()
    assert {trial.state for trial in watching.seen} == {TrialState.COMPLETE, TrialState.PRUNED}
