"""The space for scenes as they are: staged recipes that may compensate a camera's motion, augment, and see more."""

import dataclasses
from typing import Any

import optuna

from spaces import staged as staged_recipes
from spaces.models import signals_taken
from trainable.model_signal import SIGNALS
from trainable.recipe import Augmentation, Input, Recipe

ALIGNMENTS = ("off", "auto")
"""`auto` takes the simplest model that explains how a camera moved, so that the others need not be tried."""

PROBABILITIES = (0.3, 0.6)
"""Of each change to a training pair."""


def scenes(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """Staged recipes that may register pairs, augment them, and give the model more than their difference.

    Args:
        trial: what to draw from.
        max_epochs: epochs of the recipe, at least 3.
    """
    recipe = staged_recipes.staged(trial, max_epochs)
    alignment = trial.suggest_categorical("input.alignment", ALIGNMENTS)
    augmentation = _sample_augmentation(trial)
    signal = Input.signal
    if len(signals_taken(trial)) > 1:
        signal = trial.suggest_categorical("input.signal", SIGNALS)
    return dataclasses.replace(recipe, input=Input(alignment, signal), augmentation=augmentation)


def reference_parameters(max_epochs: int) -> dict[str, Any]:
    """The parameters with which `scenes` gives the reference at this budget."""
    plain = {"input.alignment": Input.alignment, "augmented": False, "input.signal": Input.signal}
    return staged_recipes.reference_parameters(max_epochs) | plain


def portfolio(max_epochs: int) -> list[dict[str, Any]]:
    """The portfolio of `staged`, with motion compensated, of differences; as it is first, then augmented.

    Args:
        max_epochs: epochs of each recipe, at least 3.
    """
    best, *others = staged_recipes.portfolio(max_epochs)
    aligned = {"input.alignment": "auto", "input.signal": Input.signal}
    augmented = {"augmented": True, "augmentation.probability": PROBABILITIES[0], "augmentation.strength": 0.5}
    return [
        best | aligned | {"augmented": False},
        best | aligned | augmented,
        *(each | aligned | {"augmented": False} for each in others),
    ]


def _sample_augmentation(trial: optuna.Trial) -> Augmentation:
    if not trial.suggest_categorical("augmented", (False, True)):
        return Augmentation()
    return Augmentation(
        probability=trial.suggest_categorical("augmentation.probability", PROBABILITIES),
        strength=trial.suggest_float("augmentation.strength", 0.1, 1.0),
    )
