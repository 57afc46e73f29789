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


def portfolio(max_epochs: int) -> list[dict[str, Any]]:
    """The parameters of recipes that did well on data sets unlike one another, the best first, to be tried first.

    They are those that `python benchmarks/portfolio.py` prints, rounded: chosen on three data sets of at most 150 pairs
    with the embedded checkpoint. Where they do not suit the data, each costs a search the epochs of its lowest rung.

    Args:
        max_epochs: epochs of each recipe, at least 3.
    """
    common = {"weight_decay": 1e-4, "warmup_share": 0.0, "last_stage.trainable": "everything"}
    return [
        common | parameters
        for parameters in (
            {
                "stages": 1,
                "stage0.learning_rate": 3.8e-4,
                "restart_cycles": 1,
                "accumulation_steps": 1,
                "backbone_learning_rate_factor": 0.89,
            },
            {
                "stages": 2,
                "stage0.trainable.before_everything": "class_head",
                "head_stage.epochs": max_epochs // 12 or 1,
                "head_stage.learning_rate": 1e-3,
                "stage1.learning_rate_factor": 0.32,
                "restart_cycles": 1,
                "accumulation_steps": 1,
                "backbone_learning_rate_factor": 0.35,
            },
            {
                "stages": 1,
                "stage0.learning_rate": 6e-4,
                "restart_cycles": 2,
                "accumulation_steps": 4,
                "backbone_learning_rate_factor": 0.68,
            },
            {
                "stages": 2,
                "stage0.trainable.before_everything": "decoder",
                "stage0.epochs": max_epochs // 8 or 1,
                "stage0.learning_rate": 8.8e-4,
                "stage1.learning_rate_factor": 0.26,
                "restart_cycles": 5,
                "accumulation_steps": 1,
                "backbone_learning_rate_factor": 0.67,
            },
        )
    ]


def reference_parameters(max_epochs: int) -> dict[str, Any]:
    """The parameters with which `staged` gives the reference at this budget."""
    return {
        "stages": len(REFERENCE.stages),
        **reference_schedule_parameters(max_epochs),
        **reference_learning_rate_parameters(),
        **reference_setting_parameters(),
    }
