"""What came of each image: its counts at the operating point and its loss; which ones are worst."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from results.measures.disturbance import RULE
from trainable.detection import GroundTruth, Matches, precision_recall_f1


def counts_per_image(
    matches: Matches, ground_truth: Sequence[GroundTruth], iou_threshold: float, score_threshold: float
) -> np.ndarray:
    """[images, 3]: true positives, false negatives and false positives of each image, all classes together.

    Args:
        matches: of these images.
        ground_truth: one entry an image.
        iou_threshold: one of those matched.
        score_threshold: a detection counts at score >= threshold.
    """
    right = matches.is_true_positive[:, matches.iou_thresholds.index(iou_threshold)]
    counted = matches.scores >= score_threshold
    tp, fp = (np.bincount(matches.images[counted & kind], minlength=len(ground_truth)) for kind in (right, ~right))
    labels = np.array([len(image.class_ids) for image in ground_truth], dtype=np.int64)
    return np.stack([tp, fp, labels - tp], axis=1)


def pairs_by_loss(
    ids: Sequence[str], losses: Sequence[float], counts: np.ndarray, flagged: Sequence[bool]
) -> list[dict[str, Any]]:
    """The pairs, highest loss first (of equals, in their own order): `id`, `loss`, `tp`, `fp`, `fn`, `flagged`.

    Args:
        ids: of the pairs.
        losses: DETR's loss of each pair alone.
        counts: as from `counts_per_image`.
        flagged: as from `disturbance.flagged`.
    """
    rows = [
        {"id": id_, "loss": loss, "tp": tp, "fp": fp, "fn": fn, "flagged": flag}
        for id_, loss, (tp, fp, fn), flag in zip(ids, losses, counts.tolist(), flagged, strict=True)
    ]
    return sorted(rows, key=lambda row: -row["loss"])


def flagged_beside_others(ids: Sequence[str], counts: np.ndarray, flagged: Sequence[bool]) -> dict[str, Any]:
    """The pairs that differ everywhere: their `count` and `ids`, the `rule`, and F1 with and without them.

    Returns:
        `f1_flagged` and `f1_unflagged` are the F1 of either sort alone, None where there is no such pair.
    """
    mask = np.asarray(flagged, dtype=bool)
    return {
        "count": int(mask.sum()),
        "ids": [id_ for id_, flag in zip(ids, flagged, strict=True) if flag],
        "rule": RULE,
        "f1_flagged": _f1(counts[mask]),
        "f1_unflagged": _f1(counts[~mask]),
    }


def _f1(counts: np.ndarray) -> float | None:
    return float(precision_recall_f1(*counts.sum(axis=0))[2]) if len(counts) else None
