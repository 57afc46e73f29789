"""The score threshold that a model is recommended to run at, and how sure the figures there are."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from results.measures.bootstrap import bootstrap_intervals
from results.measures.sweep import OperatingPoint, operating_point
from trainable.detection import Matches, scores_at

IOU_THRESHOLD = 0.5
"""At which a detection is right, wherever one operating point is spoken of."""


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


def recommend(matches: Matches, sweep: pd.DataFrame, rule: PointRule) -> tuple[OperatingPoint, dict[str, Any]]:
    """The operating point by a rule, and what became of the rule.

    Args:
        matches: of all pictures, 0.5 among its IoU thresholds.
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
        point = operating_point(sweep, IOU_THRESHOLD, rule.min_precision, rule.min_recall)
        return point, _outcome(rule, True, "")
    except ValueError as error:
        reason = f"cannot be kept, so this is the point of the best F1: {error}"
        return operating_point(sweep, IOU_THRESHOLD), _outcome(rule, False, reason)


def recommended(point: OperatingPoint, outcome: dict[str, Any], counts: np.ndarray) -> dict[str, Any]:
    """The point as `metrics.json` has it.

    Args:
        point: as from `recommend`.
        outcome: as from `recommend`.
        counts: [pictures, 3], true positives, false positives and misses of each picture at the point.
    """
    return {**asdict(point), "interval": bootstrap_intervals(counts), **outcome}


def _outcome(rule: PointRule, kept: bool, reason: str) -> dict[str, Any]:
    if not str(rule):
        return {"constraint": None, "constraint_kept": None}
    return {"constraint": f"{rule} {'is kept' if kept else reason}", "constraint_kept": kept}
