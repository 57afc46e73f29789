"""Which model a recipe starts from, where there are several to choose among; and what a space may know of it."""

import dataclasses
from collections.abc import Collection, Mapping
from itertools import cycle
from typing import Any

import optuna

from spaces.registry import Space
from trainable.model_signal import SIGNALS
from trainable.recipe import Recipe

MODEL = "model"
"""The parameter."""
_SIGNALS = "signals"
"""The user attribute of a trial that says what its model takes; without it, all there are."""


def over_models(space: Space, models: Mapping[str, Collection[str]]) -> Space:
    """The space whose recipes also say which model they start from, where there are several.

    The reference starts from the first; the best recipe of the portfolio is tried with each, the others by turns.

    Args:
        space: of the rest of a recipe.
        models: what each takes of a pair, some of `SIGNALS`, by the names that recipes are to give them.
    """
    first, *others = models

    def build(trial: optuna.Trial, max_epochs: int) -> Recipe:
        model = trial.suggest_categorical(MODEL, list(models)) if others else first
        if set(models[model]) != set(SIGNALS):
            trial.set_user_attr(_SIGNALS, sorted(models[model]))
        recipe = space.build(trial, max_epochs)
        return dataclasses.replace(recipe, model=model) if others else recipe

    if not others:
        return dataclasses.replace(space, build=build)

    def reference_parameters(max_epochs: int) -> dict[str, Any] | None:
        parameters = space.reference_parameters(max_epochs)
        return None if parameters is None else {MODEL: first} | parameters

    def portfolio(max_epochs: int) -> list[dict[str, Any]]:
        best, rest = (recipes := space.portfolio(max_epochs))[:1], recipes[1:]
        with_each = [{MODEL: model} | recipe for recipe in best for model in models]
        return with_each + [{MODEL: model} | recipe for model, recipe in zip(cycle(models), rest, strict=False)]

    return dataclasses.replace(
        space, build=build, reference_parameters=reference_parameters, portfolio=portfolio, reference_model=first
    )


def signals_taken(trial: optuna.Trial) -> tuple[str, ...]:
    """What the model that a trial starts from takes of a pair: a space must give it no other, and draw nothing of one.

    Args:
        trial: as a space is given it.
    """
    return tuple(trial.user_attrs.get(_SIGNALS, SIGNALS))
