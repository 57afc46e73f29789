"""The space of learning rates alone: what they are worth when nothing else moves."""

import dataclasses
from typing import Any

import optuna

from spaces.budget import default_grace
from spaces.optimizer import reference_learning_rate_parameters, sample_learning_rates
from trainable.recipe import Recipe, reference


def learning_rate(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """The learning rate of each stage; stages, epochs and all else as in the reference.

    Args:
        trial: what to draw from.
        max_epochs: epochs of the recipe, at least 3.
    """
    recipe = reference(max_epochs, head_epochs=default_grace(max_epochs))
    peaks = sample_learning_rates(trial, rungs=("heads", "everything", "everything"))
    stages = (dataclasses.replace(stage, learning_rate=peak) for stage, peak in zip(recipe.stages, peaks, strict=True))
    return dataclasses.replace(recipe, stages=tuple(stages))


def reference_parameters(max_epochs: int) -> dict[str, Any]:
    """The parameters with which `learning_rate` gives the reference, whatever the budget."""
    return reference_learning_rate_parameters()
