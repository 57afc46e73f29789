"""The space of schedules alone: what freezing is worth when the learning rates stay."""

import dataclasses
from typing import Any

import optuna

from spaces.schedule import reference_schedule_parameters, sample_schedule
from trainable.recipe import REFERENCE, Recipe


def freeze(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """Which parts train in each of three stages and for how long; learning rates and all else as in the reference.

    Args:
        trial: what to draw from.
        max_epochs: epochs of the recipe, at least 3.
    """
    schedule = sample_schedule(trial, max_epochs, stages=len(REFERENCE.stages))
    learning_rates = tuple(stage.learning_rate for stage in REFERENCE.stages)
    stages = schedule.stages(learning_rates, REFERENCE.stages[0].restart_cycles)
    return dataclasses.replace(REFERENCE, stages=stages)


def reference_parameters(max_epochs: int) -> dict[str, Any]:
    """The parameters with which `freeze` gives the reference at this budget."""
    return reference_schedule_parameters(max_epochs)
