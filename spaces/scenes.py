"""The space for scenes whose camera may move: staged recipes, with and without the camera's motion compensated."""

import dataclasses
from typing import Any

import optuna

from spaces import staged as staged_recipes
from trainable.recipe import Input, Recipe

ALIGNMENTS = ("off", "auto")
"""`auto` takes the simplest model that explains how a camera moved, so that the others need not be tried."""


def scenes(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """Staged recipes that may bring the before image over the after image first, where a camera moved.

    Args:
        trial: what to draw from.
        max_epochs: epochs of the recipe, at least 3.
    """
    recipe = staged_recipes.staged(trial, max_epochs)
    return dataclasses.replace(recipe, input=Input(trial.suggest_categorical("input.alignment", ALIGNMENTS)))


def reference_parameters(max_epochs: int) -> dict[str, Any]:
    """The parameters with which `scenes` gives the reference at this budget."""
    return staged_recipes.reference_parameters(max_epochs) | {"input.alignment": Input.alignment}


def portfolio(max_epochs: int) -> list[dict[str, Any]]:
    """The portfolio of `staged`, with motion compensated.

    Args:
        max_epochs: epochs of each recipe, at least 3.
    """
    return [parameters | {"input.alignment": "auto"} for parameters in staged_recipes.portfolio(max_epochs)]
