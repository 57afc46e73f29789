"""What a trial keeps on disk, so that it can be killed at any moment and resumed exactly.

`progress.json` is the only commit point: it holds the history and names the checkpoint that belongs to it, and it is
replaced in one step after everything that it names is on disk. Whatever else lies in the folder is left over and
ignored.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from transformers import DetrForObjectDetection

from trainable.recipe import Recipe, RecipeError

Row = dict[str, Any]
"""One evaluation. At the end of an epoch it has `ROW_FIELDS`; one within an epoch lacks the last two."""

ROW_FIELDS = (
    *("epoch", "stage", "train_loss", "val_loss", "val_loss_ce", "val_loss_bbox", "val_loss_giou", "learning_rate"),
    *("precision", "recall", "f1", "seconds", "final", "within_epoch"),
)
"""`stage` counts from 0; `seconds` is what the trial has trained so far; `within_epoch` holds the evaluations of the
recipe's finer interval."""


class TrialFolder:
    """One trial's recipe, history, last checkpoint and best weights.

    Args:
        path: the folder; made if it does not exist.
        recipe: the effective recipe; written to `recipe.yaml`.

    Raises:
        RecipeError: the folder holds the progress of another recipe.
    """

    def __init__(self, path: Path, recipe: Recipe):
        self.path = path
        self.recipe = recipe
        self.history: list[Row] = []
        self._checkpoint: str | None = None
        path.mkdir(parents=True, exist_ok=True)
        if (path / "progress.json").exists():
            kept = Recipe.from_yaml(path / "recipe.yaml")
            if kept != recipe:
                raise RecipeError(["the folder holds another recipe's progress; choose another folder"], str(path))
            progress = json.loads((path / "progress.json").read_text())
            self.history, self._checkpoint = progress["history"], progress["checkpoint"]
        write_atomically(path / "recipe.yaml", recipe.to_yaml())

    @property
    def stage(self) -> int | None:
        """Index of the stage to train now, None when the trial is at its end."""
        return current_stage(self.history, self.recipe)

    @property
    def stage_checkpoint(self) -> Path | None:
        """The Trainer checkpoint to go on from within the current stage, None at a stage's start."""
        if self._checkpoint is None or not self.history or self.history[-1]["stage"] != self.stage:
            return None
        return self.path / self._checkpoint

    @property
    def start_weights(self) -> Path | None:
        """What the current stage's model is loaded from: its own checkpoint, else the best weights of the stage before.

        None at the very start.
        """
        if self.stage_checkpoint or not self.stage:
            return self.stage_checkpoint
        return self.weights_of(best_row(self.history, self.stage - 1))

    @property
    def best_weights(self) -> Path:
        """The weights of the lowest `val_loss` over all epochs."""
        return self.weights_of(best_row(self.history))

    def weights_of(self, row: Row) -> Path:
        """Where the weights of an epoch are kept, if they are."""
        return self.path / "weights" / f"epoch-{row['epoch']:04d}"

    def commit(self, row: Row, checkpoint: Path, model: DetrForObjectDetection) -> None:
        """Makes an epoch durable: its row, its checkpoint, and its weights where they are the best so far.

        Args:
            row: of the epoch just evaluated.
            checkpoint: the Trainer's checkpoint folder of this moment, inside this folder.
            model: as evaluated.
        """
        self.history.append(row)
        self._checkpoint = str(checkpoint.relative_to(self.path))
        kept = {self.weights_of(best_row(self.history)), self.weights_of(best_row(self.history, row["stage"]))}
        if self.weights_of(row) in kept:
            _save_weights(model, self.weights_of(row))
        _sync(checkpoint)
        progress = {"history": self.history, "checkpoint": self._checkpoint}
        write_atomically(self.path / "progress.json", json.dumps(progress))
        for weights in set((self.path / "weights").iterdir()) - kept:
            shutil.rmtree(weights)
        for other in set(self.path.glob("stage-*/checkpoint-*")) - {checkpoint}:
            shutil.rmtree(other)


def drop_checkpoints(path: Path) -> None:
    """Frees what only a resume of the trial in `path` needs; its recipe, history and best weights stay."""
    for folder in path.glob("stage-*"):
        shutil.rmtree(folder)


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


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file in one step, so that a reader or a crash sees the old text or the new, never half."""
    scratch = path.with_name(path.name + ".tmp")
    with scratch.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _save_weights(model: DetrForObjectDetection, path: Path) -> None:
    scratch = path.with_name(path.name + ".tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    model.save_pretrained(scratch)
    _sync(scratch)
    shutil.rmtree(path, ignore_errors=True)
    scratch.replace(path)


def _sync(folder: Path) -> None:
    """Waits until a folder and its files are on the disk, not only in its cache: a power cut must not empty them."""
    for path in (*folder.iterdir(), folder):
        file = os.open(path, os.O_RDONLY)
        os.fsync(file)
        os.close(file)
