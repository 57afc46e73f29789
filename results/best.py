"""The best trial of a run, made ready to use: recipe, model, metrics and sweep under `best/`."""

import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.evaluate import write_evaluation
from results.journal import TrialRecord
from trainable.data.pairs import PairData
from trainable.evaluation import Evaluation
from trainable.model import load_processor
from trainable.recipe import Recipe
from trainable.trial_folder import write_atomically

TOLERANCE = 1e-5
"""Relative difference of the loss, reloaded and as reported, that float32 on another device explains."""


@dataclass(frozen=True)
class Best:
    """What was written.

    Attributes:
        metrics: contents of `best/metrics.json`.
        agrees: whether the reloaded model gives the `val_loss` that its trial reported.
    """

    metrics: dict[str, Any]
    agrees: bool


def write_best(
    run: Path,
    record: TrialRecord,
    pairs: PairData,
    checkpoint: str,
    evaluate: Callable[[Path], Evaluation],
    train_command: str,
) -> Best:
    """Writes `best/` and evaluates the model as it lies there.

    Args:
        run: the run folder.
        record: the best trial (`journal.best_trial`).
        pairs: the data set.
        checkpoint: what the search started from; its image processor goes with the model.
        evaluate: loads the model of a folder and evaluates it on the validation pairs.
        train_command: the command that trains the recipe again, shown in `recipe.yaml`.
    """
    assert record.best is not None, "a best trial has an epoch"
    trial = run / "trials" / f"{record.number:04d}"
    scratch, best = run / "best.tmp", run / "best"
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(trial / "weights" / f"epoch-{record.best['epoch']:04d}", scratch / "model")
    load_processor(checkpoint).save_pretrained(scratch / "model")
    recipe = Recipe.from_yaml(trial / "recipe.yaml")
    write_atomically(scratch / "recipe.yaml", _header(run, record, train_command) + recipe.to_yaml())
    evaluation = evaluate(scratch / "model")
    metrics = write_evaluation(evaluation, pairs.val, pairs.names, scratch)
    shutil.rmtree(best, ignore_errors=True)
    scratch.replace(best)
    reported = record.best["val_loss"]
    agrees = recipe.dtype != "float32" or math.isclose(metrics["val_loss"], reported, rel_tol=TOLERANCE)
    return Best(metrics, agrees)


def _header(run: Path, record: TrialRecord, train_command: str) -> str:
    best = record.best or {}
    return (
        f"# The best recipe of {run.name}: trial {record.number}, val_loss {best['val_loss']:.6g}"
        f" and F1 {best['f1']:.3f} (IoU 0.5, score 0.5) after epoch {best['epoch']}.\n"
        f"# Train it again:\n#   {train_command}\n"
    )
