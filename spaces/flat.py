"""The space of recipes without stages: the plain baseline. The reference, which has three, is not in it."""

import optuna

from spaces.optimizer import sample_learning_rates, sample_restart_cycles, sample_settings
from spaces.schedule import Schedule
from trainable.recipe import Recipe


def flat(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """One stage in which everything trains, the plain baseline: its learning rate, and how it learns.

    Args:
        trial: what to draw from.
        max_epochs: epochs of the recipe, at least 1.
    """
    schedule = Schedule(rungs=("everything",), epochs=(max_epochs,))
    learning_rates = sample_learning_rates(trial, schedule.rungs)
    stages = schedule.stages(learning_rates, sample_restart_cycles(trial))
    return Recipe(stages, **sample_settings(trial, trains_backbone=True))
