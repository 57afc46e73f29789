"""How the parts learn: the learning rates and settings that several spaces sample, in one place and one range.

The ranges suit a small DETR as well as `facebook/detr-resnet-50`. What decides how good a
recipe is stays continuous: the learning rates of all stages that train more than the heads. What a head-only stage
depends on, and the settings that hold for all stages, are drawn from a few values that lie well apart.
"""

from typing import Any

import optuna

from spaces.schedule import HEAD_ONLY
from trainable.recipe import REFERENCE

HEAD_LEARNING_RATES = (1e-4, 1e-3)
"""The reference's and ten times that; on the sample data set, a head-only stage at three times more ends within 5 % of
its loss, above or below. Later stages miss no learning rate: their factors reach down from the one to below the
other."""

HEAD_LEARNING_RATE_FACTORS = (0.3, 1.0)

ACCUMULATION_STEPS = (1, 4, 16)
"""With batches of 2, optimizer steps of 2, 8 and 32 images."""

WEIGHT_DECAYS = (1e-4, 1e-2)
"""AdamW takes learning rate x decay off each weight at a step. Over 10,000 steps at a mean learning rate of 1e-4 that
is 0.01 % and 1 %: the first stands for all smaller ones, the second begins to be felt."""

WARMUP_SHARES = (0.0, 0.1)
"""Without and with. A stage of few steps rounds half as long a one up to the same number."""


def sample_learning_rates(trial: optuna.Trial, rungs: tuple[str, ...]) -> tuple[float, ...]:
    """Draws a peak learning rate for each stage, none above that of the stage before it.

    Args:
        trial: what to draw from.
        rungs: of each stage, keys of `spaces.schedule.LADDER`.
    """
    first_is_head_only = rungs[0] in HEAD_ONLY
    if first_is_head_only:
        learning_rates = [trial.suggest_categorical("head_stage.learning_rate", HEAD_LEARNING_RATES)]
    else:
        learning_rates = [trial.suggest_float("stage0.learning_rate", 1e-5, 1e-3, log=True)]
    for index, rung in enumerate(rungs[1:], start=1):
        learning_rates.append(learning_rates[-1] * _sample_factor(trial, index, rung))
    return tuple(learning_rates)


def sample_settings(trial: optuna.Trial, trains_backbone: bool) -> dict[str, Any]:
    """Draws the fields of a recipe that hold for all its stages; the backbone's factor only where it is used."""
    settings: dict[str, Any] = {
        "accumulation_steps": trial.suggest_categorical("accumulation_steps", ACCUMULATION_STEPS),
        "weight_decay": trial.suggest_categorical("weight_decay", WEIGHT_DECAYS),
        "warmup_share": trial.suggest_categorical("warmup_share", WARMUP_SHARES),
    }
    if trains_backbone:
        name = "backbone_learning_rate_factor"
        settings[name] = trial.suggest_float(name, 0.05, 1.0, log=True)
    return settings


def sample_restart_cycles(trial: optuna.Trial) -> int:
    """Draws the cosine cycles of the stages that train more than the heads; see `spaces.schedule` for the others."""
    return trial.suggest_int("restart_cycles", 1, 5)


def reference_learning_rate_parameters() -> dict[str, Any]:
    """The parameters with which `sample_learning_rates` gives the reference's learning rates."""
    first, second, third = (stage.learning_rate for stage in REFERENCE.stages)
    return {
        "head_stage.learning_rate": first,
        "stage1.learning_rate_factor": second / first,
        "stage2.learning_rate_factor": third / second,
    }


def reference_setting_parameters() -> dict[str, Any]:
    """The parameters with which the other functions of this file give the reference's settings."""
    return {
        "accumulation_steps": REFERENCE.accumulation_steps,
        "weight_decay": REFERENCE.weight_decay,
        "warmup_share": REFERENCE.warmup_share,
        "backbone_learning_rate_factor": REFERENCE.backbone_learning_rate_factor,
        "restart_cycles": REFERENCE.stages[0].restart_cycles,
    }


def _sample_factor(trial: optuna.Trial, index: int, rung: str) -> float:
    if rung in HEAD_ONLY:
        return trial.suggest_categorical("head_stages.learning_rate_factor", HEAD_LEARNING_RATE_FACTORS)
    return trial.suggest_float(f"stage{index}.learning_rate_factor", 0.05, 1.0, log=True)
