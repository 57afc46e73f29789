"""Precision, recall and F1 at every IoU threshold and score threshold."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trainable.detection import SCORE_THRESHOLDS, Matches, precision_recall_f1

IOU_THRESHOLDS = tuple(round(0.5 + i / 20, 2) for i in range(10))
"""0.50, 0.55, ..., 0.95."""

ALL = "all"
"""The `class` of the rows that sum over the classes. A class of that very name is written `all (class)`."""


def sweep(matches: Matches, names: Sequence[str]) -> pd.DataFrame:
    """Counts and ratios of every class, IoU threshold and score threshold.

    Args:
        matches: of all images, those without labels among them.
        names: of the classes, by class id.

    Returns:
        A row for each class, IoU threshold and score threshold, in that order, the classes in the order of `names`
        and `all` after them; columns `iou_threshold`, `score_threshold`, `class`, `tp`, `fp`, `fn`, `precision`,
        `recall`, `f1`. A detection counts at score >= threshold; 0/0 is 0. Classes without labels and detections
        have rows too.

    Raises:
        ValueError: a detection or label has a class id that `names` lacks.
    """
    highest = max(matches.class_ids.max(initial=-1), len(matches.labels_per_class) - 1)
    if highest >= len(names):
        raise ValueError(f"names: one for every class id is needed, got {len(names)} names and class id {highest}")
    tp, fp, fn = (_with_sum(counts) for counts in _counts(matches, len(names)))
    precision, recall, f1 = precision_recall_f1(tp, fp, fn)
    classes = [f"{name} (class)" if name == ALL else name for name in names] + [ALL]
    index = pd.MultiIndex.from_product(
        [classes, matches.iou_thresholds, SCORE_THRESHOLDS], names=["class", "iou_threshold", "score_threshold"]
    )
    values = {"tp": tp, "fp": fp, "fn": fn, "precision": precision, "recall": recall, "f1": f1}
    table = pd.DataFrame({name: value.ravel() for name, value in values.items()}, index=index).reset_index()
    return table[["iou_threshold", "score_threshold", "class", *values]]


def _counts(matches: Matches, class_count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True positives, false negatives and false positives, each [classes, IoU thresholds, score thresholds]."""
    thresholds_reached = np.searchsorted(SCORE_THRESHOLDS, matches.scores, side="right")  # 0 to len(SCORE_THRESHOLDS)
    bins = matches.class_ids * (len(SCORE_THRESHOLDS) + 1) + thresholds_reached
    detected = _at_each_threshold(bins, class_count)
    tp = np.stack([_at_each_threshold(bins[right], class_count) for right in matches.is_true_positive.T], axis=1)
    labels = np.bincount(np.arange(len(matches.labels_per_class)), matches.labels_per_class, class_count).astype(int)
    return tp, detected[:, None] - tp, labels[:, None, None] - tp


def _at_each_threshold(bins: np.ndarray, class_count: int) -> np.ndarray:
    """[classes, score thresholds]: how many detections of each class reach each score threshold."""
    width = len(SCORE_THRESHOLDS) + 1
    reached_exactly = np.bincount(bins, minlength=class_count * width).reshape(class_count, width)
    return reached_exactly[:, :0:-1].cumsum(axis=1)[:, ::-1]


def _with_sum(counts: np.ndarray) -> np.ndarray:
    """Appends the sum over the classes as one class more."""
    return np.concatenate([counts, counts.sum(axis=0, keepdims=True)])
