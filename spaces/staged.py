"""The space of staged recipes, and the default of a search."""

from typing import Any

import optuna

from spaces.optimizer import (
    reference_learning_rate_parameters,
    reference_setting_parameters,
    sample_learning_rates,
    sample_restart_cycles,
    sample_settings,
)
from spaces.schedule import reference_schedule_parameters, sample_schedule
from trainable.recipe import REFERENCE, Recipe


def staged(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """One to three stages that open ever more of the model: which parts, how long, at what learning rate, and how.

    Args:
        trial: what to draw from.
        max_epochs: epochs of the recipe, at least 3.
    """
    schedule = sample_schedule(trial, max_epochs, stages=trial.suggest_int("stages", 1, 3))
    learning_rates = sample_learning_rates(trial, schedule.rungs)
    stages = schedule.stages(learning_rates, sample_restart_cycles(trial))
    return Recipe(stages, **sample_settings(trial, trains_backbone="backbone" in stages[-1].trainable))


def reference_parameters(max_epochs: int) -> dict[str, Any]:
    """The parameters with which `staged` gives the reference at this budget."""
    return {
        "stages": len(REFERENCE.stages),
        **reference_schedule_parameters(max_epochs),
        **reference_learning_rate_parameters(),
        **reference_setting_parameters(),
    }
