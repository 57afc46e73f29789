"""Which parts train when, and for how long: the schedule that `staged` and `freeze` sample.

Non-shrinking stages and epochs that add up are no product of independent choices. Sampling freely and then sorting or
clipping would let two different samples mean one recipe, and ranges that move from trial to trial make TPE fall back
on independent sampling. So:

- What trains is sampled from the last stage backwards. Each earlier stage chooses among the rungs up to that of the
  stage after it, and the name of its parameter says which one that was, so that a name always has the same choices.
- Every stage but the last draws its own epochs, from ranges that depend on the budget alone and that leave the last
  stage at least one epoch whatever is drawn. The last stage trains the rest.
- Head-only stages draw from a few lengths, and all have the same restart cycles (see `HEAD_RESTART_CYCLES`).
"""

from dataclasses import dataclass
from typing import Any

import optuna

from trainable.recipe import PARTS, REFERENCE, Stage, reference

LADDER = {
    "class_head": PARTS[4:],
    "heads": PARTS[3:],
    "decoder": PARTS[2:],
    "encoder": PARTS[1:],
    "everything": PARTS,
}
"""The parts that train on each rung; a rung opens the part it is named after and keeps all that were open below it."""

HEAD_ONLY = ("class_head", "heads")
"""The lowest rungs of the ladder. A recipe never ends on them: it would outlast the grace period."""

HEAD_RESTART_CYCLES = REFERENCE.stages[0].restart_cycles
"""Restart cycles of every head-only stage. Whatever their number, the learning rate has the same mean and ends at 0."""


@dataclass(frozen=True)
class Schedule:
    """The rung and the length of every stage."""

    rungs: tuple[str, ...]
    """Keys of `LADDER`, never falling."""
    epochs: tuple[int, ...]
    """Passes over the training pairs, one number a stage."""

    def stages(self, learning_rates: tuple[float, ...], restart_cycles: int) -> tuple[Stage, ...]:
        """The stages of a recipe.

        Args:
            learning_rates: peak learning rate of each stage.
            restart_cycles: cosine cycles of every stage but the head-only ones, which have those of the reference.
        """
        stages = []
        for index, (rung, epochs, learning_rate) in enumerate(
            zip(self.rungs, self.epochs, learning_rates, strict=True)
        ):
            cycles = HEAD_RESTART_CYCLES if rung in HEAD_ONLY else restart_cycles
            stages.append(
                Stage(_stage_name(self.rungs, learning_rates, index), LADDER[rung], epochs, learning_rate, cycles)
            )
        return tuple(stages)


def sample_schedule(trial: optuna.Trial, max_epochs: int, stages: int) -> Schedule:
    """Draws the rungs and the epochs of so many stages, `max_epochs` in total.

    Raises:
        ValueError: `max_epochs` is below 3.
    """
    rungs = _sample_rungs(trial, stages)
    return Schedule(rungs, _sample_epochs(trial, rungs, max_epochs))


def reference_schedule_parameters(max_epochs: int) -> dict[str, Any]:
    """The parameters with which `sample_schedule`, asked for three stages, gives the reference's schedule."""
    head, middle, _ = reference(max_epochs).stages
    return {
        "last_stage.trainable": "everything",
        "stage1.trainable.before_everything": "everything",
        "stage0.trainable.before_everything": "heads",
        "head_stage.epochs": head.epochs,
        "stage1.epochs": middle.epochs,
    }


def _stage_name(rungs: tuple[str, ...], learning_rates: tuple[float, ...], index: int) -> str:
    pairs = list(zip(rungs, learning_rates, strict=True))
    rung, learning_rate = pairs[index]
    steps_down = sum(
        earlier == rung and earlier_learning_rate > learning_rate for earlier, earlier_learning_rate in pairs[:index]
    )
    return rung.replace("_", " ") + ", lower" * steps_down


def _sample_rungs(trial: optuna.Trial, stages: int) -> tuple[str, ...]:
    ladder = list(LADDER)
    rungs = [trial.suggest_categorical("last_stage.trainable", ladder[len(HEAD_ONLY) :])]
    for index in reversed(range(stages - 1)):
        following = rungs[0]
        choices = ladder[: ladder.index(following) + 1]
        rungs.insert(0, trial.suggest_categorical(f"stage{index}.trainable.before_{following}", choices))
    return tuple(rungs)


def _sample_epochs(trial: optuna.Trial, rungs: tuple[str, ...], max_epochs: int) -> tuple[int, ...]:
    head_stages = sum(rung in HEAD_ONLY for rung in rungs)
    epochs = _sample_head_epochs(trial, head_stages, longest=reference(max_epochs).stages[0].epochs)
    for index in range(head_stages, len(rungs) - 1):
        epochs.append(trial.suggest_int(f"stage{index}.epochs", 1, (max_epochs - 1) // 2))
    return (*epochs, max_epochs - sum(epochs))


def _sample_head_epochs(trial: optuna.Trial, head_stages: int, longest: int) -> list[int]:
    """A quarter, a half or all of `longest` epochs for one head-only stage; two are equally long and add up to it."""
    quarter, half = max(1, longest // 4), max(1, longest // 2)
    if head_stages == 0:
        return []
    if head_stages == 1:
        return [trial.suggest_categorical("head_stage.epochs", sorted({quarter, half, longest}))]
    return [trial.suggest_categorical("head_stages.epochs_each", sorted({quarter, half}))] * 2
