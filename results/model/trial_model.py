"""The model of one trial, made ready to use: its files, what it is worth, its recipe and its card."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.description import figures_at
from results.journal.journal import TrialRecord
from results.measures.metrics import write_evaluation
from results.measures.operating_point import PointRule
from results.model.model_card import Origin, write_model_card
from trainable.data.pairs import PairData
from trainable.detector.loading import load_processor
from trainable.history import EpochRow
from trainable.storage.durable_file import write_atomically
from trainable.storage.remote import without_secrets
from trainable.text.command_line import command_line
from trainable.training.evaluation import Evaluation
from trainable.training.progress import kept_recipe
from trainable.training.trial_folder import weights_path
from trainable.training.weights import trial_model

TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 5e-2, "auto": 5e-2}
"""Relative difference of the loss, reloaded in float32 and as reported, that the training's precision explains, and the
TF32 convolutions of a GPU; weights that are not the trial's differ by far more."""


@dataclass(frozen=True)
class TrainedTrial:
    """A trial with weights, and what else its model is made of."""

    run: str
    """Name of its search."""
    folder: Path
    """The trial's own."""
    record: TrialRecord
    """With an epoch at least."""
    pairs: PairData
    checkpoint: str
    """What the search started from; its image processor goes with the model."""


@dataclass(frozen=True)
class MeasuredModel:
    """What was written of a trial's model.

    Attributes:
        evaluation: on the validation pairs.
        metrics: contents of `metrics.json`.
        agrees: whether the reloaded model gives the `val_loss` that its trial reported; true as well where that cannot
            be held against it, since pairs could not be read any more.
    """

    evaluation: Evaluation
    metrics: dict[str, Any]
    agrees: bool


def write_trial_model(
    trial: TrainedTrial,
    out: Path,
    model: Path,
    evaluate: Callable[[Path], Evaluation],
    rule: PointRule,
    title: str,
    train_command: str,
) -> MeasuredModel:
    """Writes the model of a trial's best epoch, and evaluates it as it lies there.

    Args:
        trial: whose.
        out: folder for `metrics.json`, `sweep.csv` and `recipe.yaml`.
        model: folder for the model, its image processor and its card; `out` or one in it. Made, as is `out`.
        evaluate: loads the model of a folder and evaluates it on the validation pairs.
        rule: how the score threshold is chosen that the model is to run at.
        title: what `recipe.yaml` calls itself.
        train_command: the command that trains the recipe again, shown there.

    Raises:
        ModelError: the checkpoint cannot be used, or the trial's weights are damaged.
        RecipeError: the trial's recipe cannot be read, nor made up for.
        OSError: the trial's weights cannot be read, or `out` not be written.
        ImageError: an image can no longer be read, and bad ones are not to be skipped.
    """
    best = trial.record.best
    assert best is not None, "a trained trial has an epoch"
    recipe = kept_recipe(trial.folder, trial.record.recipe)
    weights = weights_path(trial.folder, best.epoch)
    trained = trial_model(trial.checkpoint, trial.pairs.names, recipe.seed, weights, recipe.input.signal)
    trained.save_pretrained(model)
    load_processor(trial.checkpoint, recipe.image_size, recipe.input).save_pretrained(model)
    evaluation = evaluate(model)
    how = (trial.pairs.skip_bad, recipe.input.alignment)
    metrics = write_evaluation(evaluation, trial.pairs.val, trial.pairs.names, out, rule, *how)
    _write_score_threshold(model, metrics["recommended"])
    origin = Origin(trial.run, trial.record.number, best.epoch, trial.checkpoint)
    write_model_card(model, origin, trial.pairs, recipe, metrics)
    header = _header(f"{title} of {trial.run}", trial.record.number, best, train_command, metrics)
    write_atomically(out / "recipe.yaml", header + recipe.to_yaml())
    # Of pairs that could not be read, the trial may have seen some before they went bad.
    agrees = bool(evaluation.unread) or math.isclose(
        metrics["val_loss"], best.val_loss, rel_tol=TOLERANCE[recipe.dtype]
    )
    return MeasuredModel(evaluation, metrics, agrees)


def train_command(recipe: str, asked: Mapping[str, Any]) -> str:
    """The command that trains a recipe as a search's trials were trained.

    Args:
        recipe: path of its file, on the machine of whoever reads the command.
        asked: the search's options, by their names. Which of several models it starts from, the recipe says.
    """
    words = ["--recipe", recipe]
    for name, flag in _TRAINED_WITH.items():
        if asked.get(name) is not None and not isinstance(asked[name], list):
            words += [flag, without_secrets(str(asked[name]))]
    return command_line("train", *words, *(["--skip-bad"] if asked.get("skip_bad") else []))


_TRAINED_WITH = {
    "data": "--data",
    "model": "--model",
    "subset": "--subset",
    "group_by": "--group-by",
    "cpus_per_trial": "--cpus",
}
"""A search's options on which the numbers of its trials depend, and what `trainable/train.py` calls them."""


def _write_score_threshold(model: Path, point: Mapping[str, Any] | None) -> None:
    """Adds `score_threshold` to the model's config; transformers keeps what it does not know.

    Without a point to recommend there is none, nor that of an earlier model, with which the search may have begun.
    """
    path = model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("score_threshold", None)
    if point:
        config["score_threshold"] = point["score_threshold"]
    write_atomically(path, json.dumps(config, indent=2) + "\n")


def _header(title: str, trial: int, best: EpochRow, train_command: str, metrics: dict[str, Any]) -> str:
    return (
        f"# {title}: trial {trial}, {best.metric.title} {best.compared:.6g}"
        f" and F1 {best.f1:.3f} (IoU 0.5, score 0.5) after epoch {best.epoch}.\n"
        f"# {_where_to_run(metrics)}.\n"
        f"# Train it again:\n#   {train_command}\n"
    )


def _where_to_run(metrics: dict[str, Any]) -> str:
    point = metrics["recommended"]
    if point is None:
        return f"No score threshold can be recommended for the model: {metrics['not_recommended']}"
    return f"Run the model at score >= {point['score_threshold']:.2f}: {figures_at(point)} (IoU 0.5; 95 % intervals)"
