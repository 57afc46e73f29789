"""Whether scores can be read as probabilities: of the detections of score 0.8, are eight in ten right?"""

import math
from typing import Any

import numpy as np

from trainable.detection import Matches

BINS = 10
"""Bins of equal width from 0 to 1; a score on an edge belongs to the bin above, 1 to the last."""


def calibration(matches: Matches, lowest_score: float | None, iou_threshold: float = 0.5) -> dict[str, Any]:
    """The reliability of the scores of the detections that somebody might look at.

    Every query of every image is a detection. Nearly all are of the lowest scores and wrong, as they say; counted with
    the others, they would make any model look calibrated.

    Args:
        matches: of all images.
        lowest_score: a detection counts at score >= this, the lower end of the sweep's useful range (`useful_range`);
            None where no score is of use, and none counts.
        iou_threshold: one of those matched, at which a detection is right.

    Returns:
        `lowest_score`, as given. `expected_calibration_error`: the distance of mean score and precision over the bins,
        weighted by their counts, in [0, 1], None where no detection counts. `bins`: `low`, `high`, `count`,
        `mean_score` and `precision` of each, the last two None where the bin is empty.
    """
    counted = matches.scores >= (math.inf if lowest_score is None else lowest_score)
    scores = matches.scores[counted]
    right = matches.is_true_positive[counted, matches.iou_thresholds.index(iou_threshold)]
    index = np.searchsorted(np.arange(1, BINS) / BINS, scores, side="right")
    count, score_sum, right_sum = (np.bincount(index, weights, BINS) for weights in (None, scores, right))
    bins = [
        {
            "low": low / BINS,
            "high": (low + 1) / BINS,
            "count": int(count[low]),
            "mean_score": float(score_sum[low] / count[low]) if count[low] else None,
            "precision": float(right_sum[low] / count[low]) if count[low] else None,
        }
        for low in range(BINS)
    ]
    error = float(np.abs(score_sum - right_sum).sum() / count.sum()) if count.sum() else None
    return {"lowest_score": lowest_score, "expected_calibration_error": error, "bins": bins}
