"""What console, report and model card say alike of a recipe, its stages and an operating point."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from pathlib import PurePath
from typing import Any

from results.formatting import figure, percent, ratio, setting
from results.journal.journal import TrialRecord
from trainable.alignment import OFF
from trainable.detector.hub import name_and_revision
from trainable.history import best_row
from trainable.metric import METRICS, VAL_LOSS
from trainable.model_signal import DIFFERENCE
from trainable.recipe import PARTS, Recipe, augments


def trains(parts: Sequence[str]) -> str:
    """What a stage trains, in words."""
    return "everything" if len(parts) == len(PARTS) else ", ".join(part.replace("_", " ") for part in parts)


def stage_rows(record: TrialRecord) -> list[dict[str, str]]:
    """A recipe's stages and the best value of the metric that each reached."""
    rows = []
    for index, stage in enumerate(record.stages):
        reached = any(row.stage == index for row in record.history)
        rows.append(
            {
                "name": stage.name,
                "trains": trains(stage.trainable),
                "epochs": f"{stage.epochs}",
                "learning_rate": setting(stage.learning_rate),
                "cycles": f"{stage.restart_cycles}",
                "reached": figure(best_row(record.history, index).compared) if reached else "not reached",
            }
        )
    return rows


def settings(recipe: Recipe) -> str:
    """What holds for all stages of a recipe, in a line."""
    at_a_time = f" ({recipe.micro_batch} at a time)" if recipe.micro_batch else ""
    return (
        f"batch {recipe.batch_size} x {recipe.accumulation_steps}{at_a_time}, "
        f"weight decay {setting(recipe.weight_decay)}, "
        f"backbone learning rate x {setting(recipe.backbone_learning_rate_factor)}, "
        f"warm-up {percent(recipe.warmup_share)} of a stage, "
        + (f"a stage ends after {recipe.patience} epochs without a better one, " if recipe.patience else "")
        + (f"pairs registered ({recipe.input.alignment}), " if recipe.input.alignment != OFF else "")
        + (f"signal {recipe.input.signal}, " if recipe.input.signal != DIFFERENCE else "")
        + (f"pairs augmented ({_augmentation(recipe)}), " if augments(recipe) else "")
        + (f"epochs compared by {METRICS[recipe.metric].title}, " if recipe.metric != VAL_LOSS else "")
        + f"{recipe.dtype}, seed {recipe.seed}"
    )


def model_rows(records: Iterable[TrialRecord]) -> list[dict[str, str]]:
    """What trials have come to by the model that they started from, the best first; none where there is but one.

    A row has the `model`, how many `trials` have reported an epoch, the best value that they `reached`, and by which
    `trial`.
    """
    by_model: dict[str, list[TrialRecord]] = {}
    for record in records:
        if record.recipe and record.recipe.model:
            by_model.setdefault(record.recipe.model, []).append(record)
    names = short_names(by_model)
    rows = []
    for model, of_model in sorted(by_model.items(), key=lambda item: min(record.objective for record in item[1])):
        trained = [record for record in of_model if record.best and record.status != "FAILED"]
        best = min(trained, key=attrgetter("objective"), default=None)
        rows.append(
            {
                "model": names[model],
                "trials": f"{len(trained)}",
                "reached": figure(best.compared if best else None),
                "trial": f"{best.number}" if best else "–",
            }
        )
    return rows


def short_names(models: Iterable[str]) -> dict[str, str]:
    """The last parts of paths and hub names, or the whole ones where two would be the same."""
    last = {model: PurePath(name_and_revision(model)[0]).name for model in models}
    return {model: name if Counter(last.values())[name] == 1 else model for model, name in last.items()}


def whole_settings(recipe: Recipe) -> str:
    """The same, and the model that it starts from where the recipe says so, which may be a path of this machine."""
    return (f"starts from {recipe.model}, " if recipe.model else "") + settings(recipe)


def _augmentation(recipe: Recipe) -> str:
    how = recipe.augmentation
    variants = f", {how.variants} variants" if how.variants else ""
    return f"each change with probability {setting(how.probability)}, strength {setting(how.strength)}{variants}"


def figures_at(point: Mapping[str, Any]) -> str:
    """Precision, recall and F1 at an operating point, each with its 95 % interval where it has one in brackets."""
    interval = point.get("interval") or {}
    return ", ".join(
        f"{title} {ratio(point[name])}" + (" ({:.3f} to {:.3f})".format(*interval[name]) if name in interval else "")
        for name, title in (("precision", "precision"), ("recall", "recall"), ("f1", "F1"))
    )
