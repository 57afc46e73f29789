"""The space for scenes as they are: what helps where cameras move, light changes and data are few."""

import dataclasses
from typing import Any

import optuna

from spaces import staged as staged_recipes
from trainable.recipe import SIGNALS, Augmentation, Input, Recipe

ALIGNMENTS = ("off", "auto")
"""`auto` takes the simplest model that explains how a camera moved, so that the others need not be tried."""

PROBABILITIES = (0.2, 0.5)
"""Of each change to a training pair: few or about half of all changes at once."""


def scenes(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """Staged recipes that may bring images over one another, augment the pairs, and show the model other signals.

    Args:
        trial: what to draw from.
        max_epochs: epochs of the recipe, at least 3.
    """
    recipe = staged_recipes.staged(trial, max_epochs)
    alignment = trial.suggest_categorical("input.alignment", ALIGNMENTS)
    signal = trial.suggest_categorical("input.signal", SIGNALS)
    return dataclasses.replace(recipe, input=Input(alignment, signal), augmentation=_sample_augmentation(trial))


def reference_parameters(max_epochs: int) -> dict[str, Any]:
    """The parameters with which `scenes` gives the reference at this budget."""
    return staged_recipes.reference_parameters(max_epochs) | _PLAIN


def portfolio(max_epochs: int) -> list[dict[str, Any]]:
    """The portfolio of `staged`, its images brought over one another where a camera moved.

    Args:
        max_epochs: epochs of each recipe, at least 3.
    """
    return [parameters | _PLAIN | {"input.alignment": "auto"} for parameters in staged_recipes.portfolio(max_epochs)]


_PLAIN = {"input.alignment": Input.alignment, "input.signal": Input.signal, "augmented": False}


def _sample_augmentation(trial: optuna.Trial) -> Augmentation:
    if not trial.suggest_categorical("augmented", (False, True)):
        return Augmentation()
    return Augmentation(
        probability=trial.suggest_categorical("augmentation.probability", PROBABILITIES),
        strength=trial.suggest_float("augmentation.strength", 0.1, 1.0),
    )
