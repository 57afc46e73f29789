"""The best trial of a run, made ready to use: recipe, model, metrics and sweep under `best/`."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from results.journal import TrialRecord
from results.measures.metrics import write_evaluation
from results.measures.operating_point import PointRule
from results.model_card import Origin, write_model_card
from results.overlays import write_overlays
from results.tensorboard_best import write_best_events
from trainable.data.pairs import PairData
from trainable.evaluation import Evaluation
from trainable.model import load_processor
from trainable.recipe import Recipe
from trainable.trial_folder import weights_path, write_atomically
from trainable.weights import trial_model

TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 5e-2}
"""Relative difference of the loss, reloaded in float32 and as reported, that the training's precision explains, and the
TF32 convolutions of a GPU; weights that are not the trial's differ by far more."""


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
    rule: PointRule,
    overlays: int,
) -> Best:
    """Writes `best/` and evaluates the model as it lies there.

    Args:
        run: the run folder.
        record: the best trial (`journal.best_trial`).
        pairs: the data set.
        checkpoint: what the search started from; its image processor goes with the model.
        evaluate: loads the model of a folder and evaluates it on the validation pairs.
        train_command: the command that trains the recipe again, shown in `recipe.yaml`.
        rule: how the score threshold is chosen that the model is to run at.
        overlays: how many pairs to draw, the worst, the best and some between.
    """
    assert record.best is not None, "a best trial has an epoch"
    trial = run / "trials" / f"{record.number:04d}"
    scratch, best = run / "best.tmp", run / "best"
    shutil.rmtree(scratch, ignore_errors=True)
    recipe = Recipe.from_yaml(trial / "recipe.yaml")
    weights = weights_path(trial, record.best["epoch"])
    trial_model(checkpoint, pairs.names, recipe.seed, weights).save_pretrained(scratch / "model")
    load_processor(checkpoint).save_pretrained(scratch / "model")
    evaluation = evaluate(scratch / "model")
    metrics = write_evaluation(evaluation, pairs.val, pairs.names, scratch, rule)
    score_threshold = metrics["recommended"]["score_threshold"]
    _write_score_threshold(scratch / "model", score_threshold)
    origin = Origin(run.name, record.number, record.best["epoch"], checkpoint)
    write_model_card(scratch / "model", origin, pairs, recipe, metrics)
    indices = {pair.id: index for index, pair in enumerate(pairs.val)}
    worst_first = [indices[row["id"]] for row in metrics["pairs_by_loss"]]
    pictures = scratch / "overlays"
    write_overlays(evaluation, pairs.val, pairs.names, worst_first, score_threshold, pictures, overlays)
    header = _header(run, record, train_command, metrics["recommended"])
    write_atomically(scratch / "recipe.yaml", header + recipe.to_yaml())
    shutil.rmtree(best, ignore_errors=True)
    scratch.replace(best)
    write_best_events(run / "tensorboard" / "best", best, record.best["epoch"])
    reported = record.best["val_loss"]
    agrees = math.isclose(metrics["val_loss"], reported, rel_tol=TOLERANCE[recipe.dtype])
    return Best(metrics, agrees)


def write_test(run: Path, test: PairData, evaluation: Evaluation, rule: PointRule, score_threshold: float) -> Any:
    """Writes `best/test/`: the best model on pairs that the search has never seen; returns its metrics.

    Args:
        run: the run folder, with `best/` in it.
        test: all its pairs count.
        evaluation: of these, train before val.
        rule: what precision and recall were asked for.
        score_threshold: as chosen on the validation pairs; one chosen on the test pairs would flatter them.
    """
    folder = run / "best" / "test"
    folder.mkdir(exist_ok=True)
    rule = replace(rule, score_threshold=score_threshold)
    return write_evaluation(evaluation, (*test.train, *test.val), test.names, folder, rule)


def _write_score_threshold(model: Path, score_threshold: float) -> None:
    """Adds `score_threshold` to the model's config; transformers keeps what it does not know."""
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    write_atomically(path, json.dumps(config | {"score_threshold": score_threshold}, indent=2) + "\n")


def _header(run: Path, record: TrialRecord, train_command: str, point: dict[str, Any]) -> str:
    best = record.best or {}
    figures = ", ".join(
        f"{name} {point[name]:.3f} [{low:.3f}, {high:.3f}]" for name, (low, high) in point["interval"].items()
    )
    return (
        f"# The best recipe of {run.name}: trial {record.number}, val_loss {best['val_loss']:.6g}"
        f" and F1 {best['f1']:.3f} (IoU 0.5, score 0.5) after epoch {best['epoch']}.\n"
        f"# Run the model at score >= {point['score_threshold']:.2f}: {figures} (IoU 0.5; 95 % intervals).\n"
        f"# Train it again:\n#   {train_command}\n"
    )
