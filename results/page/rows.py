"""The report's tables: what differs from the reference, the figures of each class, and every trial."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import pandas as pd

from results.description import stage_rows, trains, whole_settings
from results.formatting import duration, figure, ratio, setting
from results.journal.journal import TrialRecord
from results.measures.sweep import ALL
from results.page.charts.chart import short, thinned
from trainable.detection import IOU_THRESHOLD
from trainable.detector.hub import name_and_revision
from trainable.recipe import Recipe, augments

MOST_TRIALS = 500
"""Rows of the report's table; larger searches have all of theirs in results.csv."""
MOST_ERROR = 800
"""Characters of a trial's error."""
MOST_POINTS = 16_000
"""Epochs that the opened rows can draw, all trials together."""

Row = dict[str, Any]


def differences(recipe: Recipe, reference: Recipe) -> list[tuple[str, str, str]]:
    """The fields in which a recipe differs from the reference: a name, the recipe's value, the reference's."""
    ours, theirs = _fields(recipe), _fields(reference)
    names = list(dict.fromkeys([*ours, *theirs]))
    names.sort(key=lambda name: (not name.startswith("stage"), name.split(":")[0] if name.startswith("stage") else ""))
    rows = [(name, ours.get(name, "–"), theirs.get(name, "–")) for name in names]
    return [row for row in rows if row[1] != row[2]]


def class_rows(metrics: Mapping[str, Any], sweep: pd.DataFrame | None) -> list[Row]:
    """The figures of each class, and of all of them last: COCO's, and those at the operating point."""
    by_class, point = metrics.get("per_class") or {}, metrics.get("recommended")
    if not point and "counted_at" in metrics:
        point = {"iou_threshold": IOU_THRESHOLD, "score_threshold": metrics["counted_at"]}
    counts = _counts_at(sweep, point) if sweep is not None and point else {}
    rows = []
    for name, coco in [*by_class.items(), (ALL, metrics)]:
        at_point = counts.get(f"{ALL} (class)" if name == ALL and coco is not metrics else name)
        row: Row = {"name": "all classes" if coco is metrics else name, "is_all": coco is metrics}
        row |= {key: ratio(coco.get(key)) for key in ("mAP", "mAP50", "mAP75", "AR")}
        row |= {key: ratio(value) for key, value in _shares(at_point).items()}
        row |= {key: f"{int(at_point[key]):,}" if at_point else "–" for key in ("tp", "fp", "fn")}
        row["labels"] = f"{int(at_point['tp'] + at_point['fn']):,}" if at_point else "–"
        rows.append(row)
    return rows


def shown_trials(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials of the report's table, in the order of their numbers; the best ones where there are too many."""
    if len(records) <= MOST_TRIALS:
        return list(records)
    ranked = sorted(records, key=lambda record: (not record.reference, record.status == "FAILED", record.objective))
    return sorted(ranked[:MOST_TRIALS], key=lambda record: record.number)


def trial_rows(records: Sequence[TrialRecord], measured: bool = True) -> list[Row]:
    """One row a trial; a cell is what is shown and what it is sorted by, an empty text where there is nothing.

    Args:
        records: the trials to show.
        measured: whether there are boxes to measure precision, recall and F1 by.
    """
    return [
        {
            "number": record.number,
            "status": record.status,
            "reference": record.reference,
            "cells": [_cell(*cell) for cell in _cells(record, measured)],
            "recipe": _summary(record),
            "error": (record.error or "").partition("\n")[0],
        }
        for record in records
    ]


def trial_details(records: Sequence[TrialRecord]) -> dict[int, Row]:
    """What an opened row shows: the recipe, the curves (thinned), the error."""
    points = max(2, MOST_POINTS // max(1, len(records)))
    details = {}
    for record in records:
        history = thinned(record.history, points)
        details[record.number] = {
            "stages": stage_rows(record),
            "settings": whole_settings(record.recipe) if record.recipe else "",
            "parameters": {name: setting(value) for name, value in record.parameters.items()},
            "error": _shortened(record.error or ""),
            "epoch": [row.epoch for row in history],
            "stage": [row.stage for row in history],
            "val_loss": [short(row.val_loss) for row in history],
            "train_loss": [short(row.train_loss) for row in history],
        }
    return details


def _fields(recipe: Recipe) -> dict[str, str]:
    fields = {"model": recipe.model} if recipe.model else {}
    fields["stages"] = f"{len(recipe.stages)}"
    for index, stage in enumerate(recipe.stages, start=1):
        fields[f"stage {index}: trains"] = trains(stage.trainable)
        fields[f"stage {index}: epochs"] = f"{stage.epochs}"
        fields[f"stage {index}: learning rate"] = setting(stage.learning_rate)
        fields[f"stage {index}: restart cycles"] = f"{stage.restart_cycles}"
    names = ("batch_size", "accumulation_steps", "weight_decay", "backbone_learning_rate_factor", "warmup_share")
    for name in (*names, "max_grad_norm", "patience", "dtype"):
        value = getattr(recipe, name)
        fields[name.replace("_", " ")] = "none" if value is None else setting(value)
    fields |= vars(recipe.input)
    if augments(recipe):
        for name, value in vars(recipe.augmentation).items():
            fields[f"augmentation {name}"] = "anew in every epoch" if value is None else setting(value)
    return fields


def _shares(counts: Row | None) -> dict[str, float | None]:
    """Precision, recall and F1 where they are defined: 0/0 is none of them."""
    if counts is None:
        return dict.fromkeys(("precision", "recall", "f1"))
    found, labels = counts["tp"] + counts["fp"], counts["tp"] + counts["fn"]
    return {
        "precision": counts["precision"] if found else None,
        "recall": counts["recall"] if labels else None,
        "f1": counts["f1"] if labels else None,
    }


def _counts_at(sweep: pd.DataFrame, point: Mapping[str, Any]) -> dict[str, Row]:
    at_iou = (sweep["iou_threshold"] - point["iou_threshold"]).abs() < 1e-6
    at_score = (sweep["score_threshold"] - point["score_threshold"]).abs() < 1e-6
    return {row["class"]: row for row in sweep[at_iou & at_score].to_dict("records")}


def _cells(record: TrialRecord, measured: bool) -> list[tuple[Any, str]]:
    """Value to sort by, and what is shown, in the order of the table's columns."""
    if record.best is None:
        return [(None, figure(None)), *[(None, ratio(None))] * 3, *[(None, "–")] * 4]
    best, last = record.best, record.history[-1]
    return [
        (best.compared, figure(best.compared)),
        *((share, ratio(share)) for share in ((best.f1, best.precision, best.recall) if measured else (None,) * 3)),
        (best.epoch, f"{best.epoch}"),
        (last.epoch, f"{last.epoch}"),
        (last.stage, f"{last.stage + 1} of {len(record.stages)}"),
        (last.seconds, duration(last.seconds)),
    ]


def _cell(value: float | None, text: str) -> tuple[str, str]:
    return ("" if value is None else f"{value:.6g}"), text


def _summary(record: TrialRecord) -> str:
    """The stages in a line, such as `heads 4 @ 0.0003 → everything 20 @ 5e-05`, behind the model if it says one."""
    stages = " → ".join(f"{stage.name} {stage.epochs} @ {stage.learning_rate:.2g}" for stage in record.stages)
    model = record.recipe.model if record.recipe else None
    return f"{PurePath(name_and_revision(model)[0]).name}: {stages}" if model else stages


def _shortened(error: str) -> str:
    return error if len(error) <= MOST_ERROR else f"{error[: MOST_ERROR // 2]}\n…\n{error[-MOST_ERROR // 2 :]}"
