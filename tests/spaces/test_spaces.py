"""One contract for every space of the folder, and what only some of them promise."""

import functools
import itertools
import logging

import optuna
import pytest

from spaces.budget import HEADS, default_grace, fits_grace
from spaces.registry import Space, spaces
from trainable.recipe import Recipe, Stage, reference

BUDGETS = (3, 6, 12, 24, 120)
SPACES = spaces()


@pytest.fixture(params=SPACES.values(), ids=list(SPACES))
def space(request: pytest.FixtureRequest) -> Space:
    return request.param


@pytest.fixture(autouse=True)
def _quiet_optuna():
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(optuna.logging.INFO)


@functools.cache
def draw(space: Space, max_epochs: int, count: int = 200) -> list[tuple[optuna.Trial, Recipe]]:
    """Seeded random samples, each with its recipe."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(count)]
    return [(trial, space.build(trial, max_epochs)) for trial in trials]


def other_values(value, distribution) -> list:
    """Both ends of a range, or all choices of a set, without the value itself."""
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return [choice for choice in distribution.choices if choice != value]
    return [end for end in (distribution.low, distribution.high) if end != value]


@pytest.mark.parametrize("max_epochs", BUDGETS)
class TestEverySpace:
    def test_recipes_train_exactly_the_budget(self, space: Space, max_epochs: int):
        assert {recipe.epochs for _, recipe in draw(space, max_epochs)} == {max_epochs}

    def test_what_trains_never_shrinks_and_ends_above_the_heads(self, space: Space, max_epochs: int):
        for _, recipe in draw(space, max_epochs):
            parts = [set(stage.trainable) for stage in recipe.stages]
            assert all(earlier <= later for earlier, later in itertools.pairwise(parts)), parts
            assert parts[-1] >= {"decoder", "box_head", "class_head"}

    def test_rates_never_grow(self, space: Space, max_epochs: int):
        for _, recipe in draw(space, max_epochs):
            rates = [stage.learning_rate for stage in recipe.stages]
            assert rates == sorted(rates, reverse=True)

    def test_head_only_stages_are_over_within_the_grace_period(self, space: Space, max_epochs: int):
        assert all(fits_grace(recipe, default_grace(max_epochs)) for _, recipe in draw(space, max_epochs))

    def test_every_sampled_value_changes_the_recipe(self, space: Space, max_epochs: int):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        for trial, recipe in draw(space, max_epochs)[:40]:
            for name, value in trial.params.items():
                for other in other_values(value, trial.distributions[name]):
                    # What only the new value's branch asks for is drawn at random.
                    study.enqueue_trial(trial.params | {name: other})
                    changed = space.build(study.ask(), max_epochs)
                    assert changed != recipe, f"{name}: {value} and {other} mean the same recipe"

    def test_the_backbone_factor_is_sampled_only_where_the_backbone_trains(self, space: Space, max_epochs: int):
        for trial, recipe in draw(space, max_epochs):
            if not any("backbone" in stage.trainable for stage in recipe.stages):
                assert "backbone_learning_rate_factor" not in trial.params

    def test_different_samples_are_different_recipes(self, space: Space, max_epochs: int):
        drawn = draw(space, max_epochs)
        samples = {tuple(sorted(trial.params.items())) for trial, _ in drawn}
        assert len({recipe for _, recipe in drawn}) == len(samples)

    def test_reference_parameters_give_the_reference_or_are_none(self, space: Space, max_epochs: int):
        parameters = space.reference_parameters(max_epochs)
        if parameters is None:
            assert space.name == "flat"
            return
        trial = optuna.trial.FixedTrial(parameters)
        assert space.build(trial, max_epochs) == reference(max_epochs, head_epochs=default_grace(max_epochs))
        assert trial.params == parameters, "parameters that the space never asks for"


def test_tpe_repeats_its_search_and_finds_every_parameter_in_its_own_range(space: Space, caplog, recwarn):
    optuna.logging.enable_propagation()
    try:
        with caplog.at_level(logging.WARNING, logger="optuna"):
            searches = [_search_with_tpe(space) for _ in range(2)]
    finally:
        optuna.logging.disable_propagation()
    assert searches[0] == searches[1]
    assert [record.getMessage() for record in caplog.records] == []
    others = [warning for warning in recwarn if warning.category is not optuna.exceptions.ExperimentalWarning]
    assert [str(warning.message) for warning in others] == []


def _search_with_tpe(space: Space) -> list[dict]:
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True, group=True))
    for _ in range(60):
        trial = study.ask()
        recipe = space.build(trial, 24)
        study.tell(trial, sum(stage.learning_rate * stage.epochs for stage in recipe.stages))
    return [trial.params for trial in study.trials]


def test_staged_reaches_every_ladder_of_one_to_three_stages():
    ladders = {tuple(len(stage.trainable) for stage in recipe.stages) for _, recipe in draw(SPACES["staged"], 24, 1200)}
    assert {len(ladder) for ladder in ladders} == {1, 2, 3}
    assert len(ladders) == 3 + 12 + 31, "rungs 1 to 5, never falling, the last at least 3"


def test_staged_draws_head_only_stages_from_a_few_values():
    first = [recipe.stages[0] for _, recipe in draw(SPACES["staged"], 120)]
    heads = [stage for stage in first if HEADS.issuperset(stage.trainable)]
    assert {stage.epochs for stage in heads} == {5, 10, 20}
    assert {stage.learning_rate for stage in heads} == {1e-4, 3e-4, 1e-3, 3e-3}


def test_learning_rate_moves_nothing_but_the_rates():
    fields = {_without_rates(recipe) for _, recipe in draw(SPACES["learning_rate"], 24)}
    assert fields == {_without_rates(reference(24))}


def test_freeze_keeps_the_rates_and_settings_of_the_reference():
    for _, recipe in draw(SPACES["freeze"], 24):
        assert [stage.learning_rate for stage in recipe.stages] == [1e-4, 5e-5, 1e-5]
        assert (recipe.accumulation_steps, recipe.weight_decay, recipe.warmup_share) == (16, 1e-4, 0.0)


def test_flat_trains_everything_in_one_stage():
    assert {(len(recipe.stages), len(recipe.stages[0].trainable)) for _, recipe in draw(SPACES["flat"], 24)} == {(1, 5)}


def test_stages_are_named_after_what_they_open_and_a_repeat_at_a_lower_rate_says_so():
    names = {stage.name for _, recipe in draw(SPACES["staged"], 24, 1200) for stage in recipe.stages}
    assert {"class head", "heads", "decoder", "encoder", "everything", "everything, lower"} <= names


def test_default_grace_is_a_sixth_rounded_up_and_at_least_two():
    assert [default_grace(max_epochs) for max_epochs in (3, 12, 13, 24, 120)] == [2, 2, 3, 4, 20]


def test_grace_counts_all_head_only_stages_and_no_others():
    stages = (
        Stage("class head", ("class_head",), epochs=2, learning_rate=1e-3),
        Stage("heads", ("class_head", "box_head"), epochs=3, learning_rate=1e-3),
        Stage("decoder", ("decoder", "class_head"), epochs=9, learning_rate=1e-3),
    )
    assert fits_grace(Recipe(stages), grace=5)
    assert not fits_grace(Recipe(stages), grace=4)


def _without_rates(recipe: Recipe) -> str:
    plain = recipe.to_dict()
    for stage in plain["stages"]:
        del stage["learning_rate"]
    return repr(plain)
