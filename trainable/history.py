"""The history of a trial: one row an evaluation, and what follows from them."""

from typing import Any

from trainable.recipe import Recipe

Row = dict[str, Any]
"""One evaluation. At the end of an epoch it has `ROW_FIELDS`; one within an epoch lacks the last three."""

ROW_FIELDS = (
    *("epoch", "stage", "train_loss", "val_loss", "val_loss_ce", "val_loss_bbox", "val_loss_giou", "learning_rate"),
    *("precision", "recall", "f1", "seconds", "final", "within_epoch", "shared_from"),
)
"""`stage` counts from 0; `seconds` is what the trial has trained so far; `within_epoch` holds the evaluations of the
recipe's finer interval; `shared_from` is the folder's name of the trial that trained the epoch, None for this one."""


def current_stage(history: list[Row], recipe: Recipe) -> int | None:
    """Index of the stage that comes next after `history`, None when all are over."""
    if not history:
        return 0
    stage = history[-1]["stage"]
    if not stage_is_over(history, recipe, stage):
        return stage
    return stage + 1 if stage + 1 < len(recipe.stages) else None


def stage_is_over(history: list[Row], recipe: Recipe, stage: int) -> bool:
    """Whether `stage` has had all its epochs, or `patience` epochs without a lower `val_loss`."""
    rows = [row for row in history if row["stage"] == stage]
    if len(rows) >= recipe.stages[stage].epochs:
        return True
    return recipe.patience is not None and len(rows) - 1 - rows.index(best_row(rows)) >= recipe.patience


def best_row(history: list[Row], stage: int | None = None) -> Row:
    """The row of the lowest `val_loss`, the earliest of equals; of one stage where `stage` is given."""
    rows = history if stage is None else [row for row in history if row["stage"] == stage]
    return min(rows, key=lambda row: row["val_loss"])
