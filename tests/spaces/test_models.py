"""Which model a recipe starts from is drawn with it, and what a model does not take is not drawn at all."""

import optuna
import pytest
from optuna.trial import FixedTrial

from spaces.models import over_models
from spaces.registry import load_space, signals_of
from trainable.model_signal import DIFFERENCE, SIGNALS

MODELS = {"first": SIGNALS, "second": [DIFFERENCE]}


def drawn(space, count=40):
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trials = [study.ask() for _ in range(count)]
    recipes = [space.build(trial, 8) for trial in trials]
    return [(trial.params, recipe) for trial, recipe in zip(trials, recipes, strict=True)]


def test_a_recipe_says_which_model_it_starts_from_as_it_was_drawn():
    recipes = drawn(over_models(load_space("staged"), MODELS))
    assert {recipe.model for _, recipe in recipes} == {"first", "second"}
    assert all(parameters["model"] == recipe.model for parameters, recipe in recipes)


def test_what_the_model_takes_of_a_pair_is_drawn_for_the_model_alone_that_has_a_choice():
    space = over_models(load_space("scenes"), MODELS)
    recipes = drawn(space)
    assert {("input.signal" in parameters, recipe.model) for parameters, recipe in recipes} == {
        (True, "first"),
        (False, "second"),
    }
    assert signals_of(space, 8) <= {*(("first", signal) for signal in SIGNALS), ("second", DIFFERENCE)}


@pytest.mark.parametrize(("taken", "has_a_choice"), [(SIGNALS, True), ([DIFFERENCE], False)])
def test_of_one_model_recipes_say_nothing_and_signals_are_drawn_where_it_has_a_choice(taken, has_a_choice):
    recipes = drawn(over_models(load_space("scenes"), {"only": taken}))
    assert {recipe.model for _, recipe in recipes} == {None}
    assert {"input.signal" in parameters for parameters, _ in recipes} == {has_a_choice}


def test_the_reference_starts_from_the_first_and_the_best_of_the_portfolio_from_each():
    space, plain = over_models(load_space("staged"), MODELS), load_space("staged").portfolio(8)
    assert space.reference_model == space.reference_parameters(8)["model"] == "first"
    portfolio = space.portfolio(8)
    assert [recipe["model"] for recipe in portfolio] == ["first", "second", "first", "second", "first"]
    rest = [{name: value for name, value in recipe.items() if name != "model"} for recipe in portfolio]
    assert rest == [plain[0], *plain]
    assert [space.build(FixedTrial(recipe), 8).model for recipe in portfolio] == [each["model"] for each in portfolio]
    assert over_models(load_space("flat"), MODELS).portfolio(8) == []
