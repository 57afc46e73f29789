"""The score threshold that a model is recommended to run at, and how sure the figures there are."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from results.measures.bootstrap import bootstrap_intervals
from results.measures.sweep import ALL
from trainable.detection import IOU_THRESHOLD, Matches, Scores, scores_at

COUNTED_AT = 0.5
"""Score threshold at which errors are counted and drawn where none can be recommended; trials report at it, too."""
USEFUL = 0.95
"""Share of the best F1 that every score threshold of the useful range keeps."""


@dataclass(frozen=True)
class OperatingPoint(Scores):
    """A score threshold to run a model at, and what it gives over all classes."""

    iou_threshold: float
    score_threshold: float


@dataclass(frozen=True)
class PointRule:
    """How the score threshold is chosen: the best F1 of those that keep what is asked for, or one that is given."""

    min_precision: float | None = None
    """Least precision at IoU 0.5, in [0, 1]."""
    min_recall: float | None = None
    """Least recall at IoU 0.5, in [0, 1]."""
    score_threshold: float | None = None
    """In [0, 1]; taken as it is, such as the one that was chosen on the validation pairs, for a test set."""

    def __str__(self) -> str:
        asked = {"precision": self.min_precision, "recall": self.min_recall}
        return " and ".join(f"{name} >= {least:g}" for name, least in asked.items() if least is not None)


def point_by_rule(matches: Matches, sweep: pd.DataFrame, rule: PointRule) -> tuple[OperatingPoint, dict[str, Any]]:
    """The operating point by a rule, and what became of the rule.

    Args:
        matches: of all images, 0.5 among its IoU thresholds.
        sweep: of these matches.
        rule: what is asked for. What cannot be kept does not fail: the best F1 takes its place, and it is said.

    Returns:
        The point, and `constraint`, a sentence, and `constraint_kept`; both are None where nothing was asked for.
    """
    if rule.score_threshold is not None:
        scores = scores_at(matches, IOU_THRESHOLD, rule.score_threshold)
        point = OperatingPoint(iou_threshold=IOU_THRESHOLD, score_threshold=rule.score_threshold, **asdict(scores))
        kept = point.precision >= (rule.min_precision or 0) and point.recall >= (rule.min_recall or 0)
        return point, _outcome(rule, kept, f"is not kept at the given score threshold {rule.score_threshold:g}")
    try:
        point = point_of_best_f1(sweep, IOU_THRESHOLD, rule.min_precision, rule.min_recall)
        return point, _outcome(rule, True, "")
    except ValueError as error:
        reason = f"cannot be kept, so this is the point of the best F1: {error}"
        return point_of_best_f1(sweep), _outcome(rule, False, reason)


def why_none(sweep: pd.DataFrame, rule: PointRule) -> str | None:
    """Why no score threshold can be recommended, as the end of a sentence; None where one can.

    Args:
        sweep: as from `sweep`.
        rule: what is asked for; one that gives the threshold leaves nothing to choose, only to measure.
    """
    rows = sweep[(sweep["class"] == ALL) & (sweep["iou_threshold"] == IOU_THRESHOLD)]
    if not (rows["tp"] + rows["fn"]).any():
        return "there is no labelled box to measure it by"
    if rule.score_threshold is None and not rows["tp"].any():
        return f"no detection is right at any of them (IoU {IOU_THRESHOLD:g})"
    return None


def point_of_best_f1(
    sweep: pd.DataFrame,
    iou: float = IOU_THRESHOLD,
    min_precision: float | None = None,
    min_recall: float | None = None,
) -> OperatingPoint:
    """The point of the best F1 over all classes; of equals that of the highest score threshold, which shows least.

    Args:
        sweep: as from `sweep`.
        iou: the IoU threshold at which a detection is right.
        min_precision: least precision that the point must keep, if any.
        min_recall: least recall that the point must keep, if any.

    Raises:
        ValueError: the sweep has no such IoU threshold, or no score threshold keeps what was asked.
    """
    rows = sweep[(sweep["class"] == ALL) & (sweep["iou_threshold"] == iou)]
    if rows.empty:
        raise ValueError(f"iou: one of {sorted(set(sweep['iou_threshold']))}, got {iou}")
    kept = rows[(rows["precision"] >= (min_precision or 0)) & (rows["recall"] >= (min_recall or 0))]
    if kept.empty:
        raise ValueError(
            f"no score threshold keeps precision >= {min_precision or 0} and recall >= {min_recall or 0} at IoU {iou}: "
            f"the highest precision is {rows['precision'].max():.3f}, the highest recall {rows['recall'].max():.3f}; "
            "ask for less"
        )
    best = kept.sort_values(["f1", "score_threshold"]).iloc[-1]
    return OperatingPoint(
        iou_threshold=iou,
        score_threshold=float(best["score_threshold"]),
        precision=float(best["precision"]),
        recall=float(best["recall"]),
        f1=float(best["f1"]),
        tp=int(best["tp"]),
        fp=int(best["fp"]),
        fn=int(best["fn"]),
    )


def useful_range(sweep: pd.DataFrame, iou: float = IOU_THRESHOLD) -> tuple[float, float] | None:
    """The lowest and the highest score threshold that keep `USEFUL` of the best F1 over all classes.

    None where F1 is 0 or undefined at every one.
    """
    rows = sweep[(sweep["class"] == ALL) & ((sweep["iou_threshold"] - iou).abs() < 1e-6)]
    best = rows["f1"].max()
    if not best > 0:  # Nor where it is undefined.
        return None
    useful = rows[rows["f1"] >= USEFUL * best]["score_threshold"]
    return float(useful.min()), float(useful.max())


def point_in_metrics(point: OperatingPoint, outcome: dict[str, Any], counts: np.ndarray) -> dict[str, Any]:
    """The point as `metrics.json` has it where it can be recommended.

    Args:
        point: as from `point_by_rule`.
        outcome: as from `point_by_rule`.
        counts: [images, 3], true positives, false negatives and false positives of each image at the point.
    """
    return {**asdict(point), "interval": bootstrap_intervals(counts), **outcome}


def _outcome(rule: PointRule, kept: bool, reason: str) -> dict[str, Any]:
    if not str(rule):
        return {"constraint": None, "constraint_kept": None}
    return {"constraint": f"{rule} {'is kept' if kept else reason}", "constraint_kept": kept}
