"""One contract for every space of the folder, and what only some of them promise."""

import functools
import itertools
import logging
from collections.abc import Callable

import optuna
import pytest
from optuna.trial import FixedTrial

from search.sampling import RANDOM_TRIALS
from spaces.budget import HEADS, default_grace, fits_grace, shorten_heads
from spaces.registry import Space, spaces
from trainable.recipe import PARTS, Recipe, Stage, reference

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

    def test_learning_rates_never_grow(self, space: Space, max_epochs: int):
        for _, recipe in draw(space, max_epochs):
            learning_rates = [stage.learning_rate for stage in recipe.stages]
            assert learning_rates == sorted(learning_rates, reverse=True)

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

    def test_the_portfolio_has_recipes_of_the_space(self, space: Space, max_epochs: int):
        recipes = [space.build(FixedTrial(parameters), max_epochs) for parameters in space.portfolio(max_epochs)]
        assert all(recipe.epochs == max_epochs for recipe in recipes)
        assert len(set(map(str, recipes))) == len(recipes) and bool(recipes) == (space.name in ("scenes", "staged"))

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
            searches = [_search_with_tpe(space, _most_learning, 60, seed=0) for _ in range(2)]
    finally:
        optuna.logging.disable_propagation()
    assert searches[0] == searches[1]
    assert [record.getMessage() for record in caplog.records] == []
    others = [warning for warning in recwarn if warning.category is not optuna.exceptions.ExperimentalWarning]
    assert [str(warning.message) for warning in others] == []


def _search_with_tpe(space: Space, loss: Callable[[Recipe], float], trials: int, seed: int) -> list[Recipe]:
    """The recipes that a search would try if training them gave `loss`."""
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, n_startup_trials=RANDOM_TRIALS)
    study = optuna.create_study(sampler=sampler)
    recipes = []
    for _ in range(trials):
        trial = study.ask()
        recipes.append(space.build(trial, 24))
        study.tell(trial, loss(recipes[-1]))
    return recipes


def _most_learning(recipe: Recipe) -> float:
    return sum(stage.learning_rate * stage.epochs for stage in recipe.stages)


def test_staged_reaches_every_ladder_of_one_to_three_stages():
    ladders = {tuple(len(stage.trainable) for stage in recipe.stages) for _, recipe in draw(SPACES["staged"], 24, 1200)}
    assert {len(ladder) for ladder in ladders} == {1, 2, 3}
    assert len(ladders) == 3 + 12 + 31, "rungs 1 to 5, never falling, the last at least 3"


def test_staged_draws_all_that_a_head_only_stage_depends_on_from_a_few_values():
    recipes = [recipe for _, recipe in draw(SPACES["staged"], 120) if HEADS.issuperset(recipe.stages[0].trainable)]
    heads = [recipe.stages[0] for recipe in recipes]
    assert {stage.epochs for stage in heads} == {5, 10, 20}
    assert {stage.learning_rate for stage in heads} == {1e-4, 1e-3}
    assert {stage.restart_cycles for stage in heads} == {5}
    assert {recipe.accumulation_steps for recipe in recipes} == {1, 4, 16}
    assert {recipe.weight_decay for recipe in recipes} == {1e-4, 1e-2}
    assert {recipe.warmup_share for recipe in recipes} == {0.0, 0.1}


def test_staged_still_draws_the_restart_cycles_of_what_trains_more_than_the_heads():
    last = [recipe.stages[-1] for _, recipe in draw(SPACES["staged"], 120)]
    assert {stage.restart_cycles for stage in last} == {1, 2, 3, 4, 5}


def test_learning_rate_moves_nothing_but_the_learning_rates():
    fields = {_without_learning_rates(recipe) for _, recipe in draw(SPACES["learning_rate"], 24)}
    assert fields == {_without_learning_rates(reference(24))}


def test_freeze_keeps_the_learning_rates_and_settings_of_the_reference():
    for _, recipe in draw(SPACES["freeze"], 24):
        assert [stage.learning_rate for stage in recipe.stages] == [1e-4, 5e-5, 1e-5]
        assert (recipe.accumulation_steps, recipe.weight_decay, recipe.warmup_share) == (16, 1e-4, 0.0)


def test_flat_trains_everything_in_one_stage():
    assert {(len(recipe.stages), len(recipe.stages[0].trainable)) for _, recipe in draw(SPACES["flat"], 24)} == {(1, 5)}


def test_stages_are_named_after_what_they_open_and_a_repeat_at_a_lower_learning_rate_says_so():
    names = {stage.name for _, recipe in draw(SPACES["staged"], 24, 1200) for stage in recipe.stages}
    assert {"class head", "heads", "decoder", "encoder", "everything", "everything, lower"} <= names


def test_default_grace_is_a_sixth_rounded_up_and_at_least_two():
    assert [default_grace(max_epochs) for max_epochs in (3, 12, 13, 24, 120)] == [2, 2, 3, 4, 20]


def stages(*of: tuple[str, int]) -> Recipe:
    """A recipe that trains these, each so many epochs."""
    parts = {"class head": ("class_head",), "heads": ("class_head", "box_head"), "everything": PARTS}
    return Recipe(tuple(Stage(name, parts[name], epochs, 1e-3) for name, epochs in of))


def test_grace_counts_the_head_only_stages_that_come_first_and_no_others():
    recipe = stages(("class head", 2), ("heads", 3), ("everything", 9), ("heads", 4))
    assert fits_grace(recipe, grace=5)
    assert not fits_grace(recipe, grace=4)


@pytest.mark.parametrize(
    ("recipe", "shortened"),
    [
        (stages(("heads", 10), ("everything", 10)), stages(("heads", 4), ("everything", 16))),
        (
            stages(("class head", 3), ("heads", 5), ("everything", 2), ("heads", 9)),
            stages(("class head", 3), ("heads", 1), ("everything", 6), ("heads", 9)),
        ),
        (stages(("everything", 10), ("heads", 10)), stages(("everything", 10), ("heads", 10))),
        (stages(("heads", 10)), stages(("heads", 10))),
    ],
    ids=["heads first", "heads first and last", "heads last", "heads only"],
)
def test_only_the_heads_that_come_first_are_cut_to_a_short_grace_period(recipe: Recipe, shortened: Recipe):
    assert shorten_heads(recipe, grace=4) == shortened


def _without_learning_rates(recipe: Recipe) -> str:
    plain = recipe.to_dict()
    for stage in plain["stages"]:
        del stage["learning_rate"]
    return repr(plain)
