"""The simulated clock, and the searches behind it."""

import dataclasses
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from optuna.trial import FixedTrial
from simulated_searches import OURS, SEARCHES, Curve, RaySearch, Setting, Started, simulate

from search.study import fit_recipe
from spaces.registry import load_space
from trainable.recipe import PARTS, Recipe, Stage

SETTING = Setting(images=96, trials=6, seed=3, max_epochs=12)


def recipe(epochs: int) -> Recipe:
    return Recipe((Stage("everything", PARTS, epochs, 1e-4),))


def curve_of(drawn: Recipe) -> Curve:
    """The higher the last stage's learning rate, the better; an epoch takes a second."""
    level = 1 - np.log10(drawn.stages[-1].learning_rate)
    return Curve(level + 1 / np.arange(1, drawn.epochs + 1), np.ones(drawn.epochs))


class Listed:
    """A search of trials of so many epochs, none stopped."""

    def __init__(self, *epochs: int):
        self.waiting = [Started(None, recipe(count)) for count in epochs]
        self.closed = False

    def start(self, alive: bool) -> Started | None:
        return self.waiting.pop(0) if self.waiting else None

    def report(self, trial: Started, loss: float) -> bool:
        return trial.epoch < trial.recipe.epochs

    def close(self) -> None:
        self.closed = True


def test_workers_train_side_by_side_and_take_the_next_trial_as_they_get_free(monkeypatch):
    monkeypatch.setattr("simulated_searches.START_SECONDS", 0.5)
    search = Listed(3, 1, 1)
    course = simulate(search, curve_of, workers=2)
    # The second worker trains from 0 to 1.5 and from 1.5 to 3, the first until 3.5.
    assert list(course.seconds) == [1.5, 1.5, 2.5, 3.0, 3.5]
    assert course.busy == pytest.approx((3.5 + 1.5 + 1.5) / (2 * 3.5))
    assert search.closed


def test_the_best_is_that_of_all_trials_so_far_and_says_when_a_loss_was_reached(monkeypatch):
    monkeypatch.setattr("simulated_searches.START_SECONDS", 0.0)
    losses = iter([[3.0, 2.0], [2.5, 1.0]])
    course = simulate(Listed(2, 2), lambda _: Curve(np.array(next(losses)), np.ones(2)), workers=1)
    assert list(course.best) == [3.0, 2.0, 2.0, 1.0]
    assert (course.epochs_to(2.0), course.seconds_to(1.5)) == (2, 4.0)
    assert course.epochs_to(0.5) == course.seconds_to(0.5) == float("inf")


def test_ours_tries_first_the_portfolio_that_it_is_given():
    portfolio = tuple(load_space("staged").portfolio(12)[:2])
    search = SEARCHES[OURS](dataclasses.replace(SETTING, portfolio=portfolio))
    started = [search.start(alive=True).recipe for _ in range(4)]
    wanted = [fit_recipe(load_space("staged").build(FixedTrial(each), 12), SETTING.budget) for each in portfolio]
    assert started[1:3] == wanted and started[3] not in wanted
    search.study.journal.close()


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("workers", [1, 4])
def test_every_search_trains_the_reference_first_and_ends_with_all_its_trials(name: str, workers: int):
    drawn: list[Recipe] = []

    def recorded(each: Recipe) -> Curve:
        drawn.append(each)
        return curve_of(each)

    course = simulate(SEARCHES[name](SETTING), recorded, workers)
    assert [stage.learning_rate for stage in drawn[0].stages] == [1e-4, 5e-5, 1e-5]
    assert len({each.to_yaml() for each in drawn}) == SETTING.trials
    assert len(course.best) < SETTING.trials * SETTING.max_epochs, "none was stopped"


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_repeats_with_its_seed_and_not_with_another(name: str):
    def drawn(seed: int) -> list[str]:
        recipes: list[Recipe] = []
        simulate(SEARCHES[name](Setting(96, 6, seed, 12)), lambda each: recipes.append(each) or curve_of(each), 2)
        return [dataclasses.replace(each, seed=0).to_yaml() for each in recipes]

    assert drawn(3) == drawn(3)
    assert drawn(3)[0] == drawn(4)[0], "the reference"
    assert drawn(3)[1:] != drawn(4)[1:]


class Promoting:
    """A searcher that hands out one trial twice, the second time with what it has reported."""

    def __init__(self) -> None:
        self.reported: list[tuple[str, int]] = []
        self.ended: list[str] = []
        self.alive = False

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if len(self.ended) == 2:
            return "FINISHED"
        return {"number": 7, "recipe": recipe(4), "reported": [epoch for _, epoch in self.reported]}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        if (trial_id, result["epoch"]) not in self.reported:
            self.reported.append((trial_id, result["epoch"]))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any]) -> None:
        self.on_trial_result(trial_id, result)
        self.ended.append(trial_id)


def test_a_promoted_trial_goes_on_after_what_it_has_reported():
    searcher = Promoting()
    scheduler = SimpleNamespace(
        on_trial_add=lambda *_: None,
        on_trial_result=lambda _, trial, result: "STOP" if result["epoch"] == 2 else "CONTINUE",
        on_trial_complete=lambda *_: None,
    )
    search = RaySearch(searcher, scheduler)
    course = simulate(search, curve_of, workers=1)
    assert [epoch for _, epoch in searcher.reported] == [1, 2, 3, 4]
    assert len(dict(searcher.reported)) == 2, "the two times have an id each"
    assert len(course.best) == 4
