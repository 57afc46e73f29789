"""How the parts learn: the rates and settings that several spaces sample, in one place and one range.

The ranges suit a small DETR as well as `facebook/detr-resnet-50`. Head-only stages draw their rates from a few values,
for the reason that `spaces.schedule` gives for their lengths.
"""

from typing import Any

import optuna

from spaces.schedule import HEAD_ONLY
from trainable.recipe import REFERENCE

HEAD_LEARNING_RATES = (1e-4, 3e-4, 1e-3, 3e-3)
HEAD_LEARNING_RATE_FACTORS = (0.3, 1.0)
ACCUMULATION_STEPS = (1, 2, 4, 8, 16)
WARMUP_SHARES = (0.0, 0.05, 0.1)


def sample_learning_rates(trial: optuna.Trial, rungs: tuple[str, ...]) -> tuple[float, ...]:
    """Draws a peak rate for each stage, none above that of the stage before it.

    Args:
        trial: what to draw from.
        rungs: of each stage, keys of `spaces.schedule.LADDER`.
    """
    first_is_head_only = rungs[0] in HEAD_ONLY
    if first_is_head_only:
        rates = [trial.suggest_categorical("head_stage.learning_rate", HEAD_LEARNING_RATES)]
    else:
        rates = [trial.suggest_float("stage0.learning_rate", 1e-5, 1e-3, log=True)]
    for index, rung in enumerate(rungs[1:], start=1):
        rates.append(rates[-1] * _sample_factor(trial, index, rung))
    return tuple(rates)


def sample_settings(trial: optuna.Trial, trains_backbone: bool) -> dict[str, Any]:
    """Draws the fields of a recipe that hold for all its stages; the backbone's factor only where it is used."""
    settings: dict[str, Any] = {
        "accumulation_steps": trial.suggest_categorical("accumulation_steps", ACCUMULATION_STEPS),
        "weight_decay": trial.suggest_float("weight_decay", 1e-6, 1e-2, log=True),
        "warmup_share": trial.suggest_categorical("warmup_share", WARMUP_SHARES),
    }
    if trains_backbone:
        name = "backbone_learning_rate_factor"
        settings[name] = trial.suggest_float(name, 0.05, 1.0, log=True)
    return settings


def sample_restart_cycles(trial: optuna.Trial) -> int:
    """Draws the cosine cycles of every stage."""
    return trial.suggest_int("restart_cycles", 1, 5)


def reference_rate_parameters() -> dict[str, Any]:
    """The parameters with which `sample_learning_rates` gives the reference's rates."""
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
