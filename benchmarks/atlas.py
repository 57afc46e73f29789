"""A space wider than any that a search should use: where the recipes of `benchmarks/tables/` come from.

    python search/run.py --space benchmarks/atlas.py:atlas --sampler random

It covers `staged`, `freeze`, `learning_rate` and `flat`, and what a better space might draw: steps of 2 to 32 images,
learning rates from far too low to far too high whatever the step, any warm-up, and later stages whose learning rate
does not follow from that of the heads.
"""

from typing import Any

import optuna
from optuna.samplers import RandomSampler

from spaces.schedule import HEAD_ONLY, LADDER, sample_schedule
from trainable.recipe import REFERENCE, Recipe, Stage

SEED = 0
"""Of the search whose recipes `again` repeats."""
LEARNING_RATES = 5e-6, 3e-3
"""The reference's lowest, halved, to three times the highest of `staged`."""


def atlas(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """One to three stages, every field that a search may vary, and ranges that hold those of all other spaces.

    Args:
        trial: what to draw from.
        max_epochs: epochs of the recipe, at least 3.
    """
    schedule = sample_schedule(trial, max_epochs, stages=trial.suggest_int("stages", 1, 3))
    cycles = {True: trial.suggest_categorical("head_restart_cycles", (1, 5)), False: trial.suggest_int("cycles", 1, 5)}
    stages: list[Stage] = []
    for index, (rung, epochs) in enumerate(zip(schedule.rungs, schedule.epochs, strict=True)):
        before = stages[-1].learning_rate if stages and schedule.rungs[index - 1] not in HEAD_ONLY else None
        learning_rate = _sample_learning_rate(trial, index, rung in HEAD_ONLY, before)
        stages.append(Stage(rung.replace("_", " "), LADDER[rung], epochs, learning_rate, cycles[rung in HEAD_ONLY]))
    warms_up = trial.suggest_categorical("warms_up", (False, True))
    return Recipe(
        tuple(stages),
        accumulation_steps=trial.suggest_categorical("accumulation_steps", (1, 2, 4, 8, 16)),
        weight_decay=trial.suggest_float("weight_decay", 1e-5, 1e-1, log=True),
        warmup_share=trial.suggest_float("warmup_share", 0.02, 0.3) if warms_up else 0.0,
        backbone_learning_rate_factor=trial.suggest_float("backbone_learning_rate_factor", 0.05, 1.0, log=True)
        if "backbone" in stages[-1].trainable
        else REFERENCE.backbone_learning_rate_factor,
    )


def again(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """The recipes that a random search of `atlas` draws with `--seed 0`, in its order, whatever the seed of this one.

    Args:
        trial: its number says which recipe.
        max_epochs: epochs of the recipe, at least 3.
    """
    study = optuna.create_study(sampler=RandomSampler(seed=SEED))
    for _ in range(trial.number - 1):
        atlas(study.ask(), max_epochs)
    return atlas(study.ask(), max_epochs)


def reference_parameters(max_epochs: int) -> dict[str, Any] | None:
    """None: the reference is trial 0 all the same, and the random draws begin with trial 1."""
    return None


def _sample_learning_rate(trial: optuna.Trial, index: int, head_only: bool, before: float | None) -> float:
    """A peak of its own, or a share of that of the stage before where that one trained more than the heads."""
    if before is not None:
        return before * trial.suggest_float(f"stage{index}.learning_rate_factor", 0.05, 1.0, log=True)
    low, high = LEARNING_RATES
    return trial.suggest_float(f"stage{index}.learning_rate", 1e-4 if head_only else low, high, log=True)
