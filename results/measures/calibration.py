"""Whether scores can be read as probabilities: of the detections of score 0.8, are eight in ten right?"""

from typing import Any

import numpy as np

from trainable.detection import Matches

BINS = 10
"""Of equal width from 0 to 1; a score on an edge belongs to the bin above, 1 to the last."""


def calibration(matches: Matches, iou_threshold: float = 0.5) -> dict[str, Any]:
    """The reliability of the scores of all detections.

    Args:
        matches: of all pictures.
        iou_threshold: one of those matched, at which a detection is right.

    Returns:
        `expected_calibration_error`: the distance of mean score and precision over the bins, weighted by their counts,
        in [0, 1], None without detections. `bins`: `low`, `high`, `count`, `mean_score` and `precision` of each, the
        last two None where the bin is empty.
    """
    right = matches.is_true_positive[:, matches.iou_thresholds.index(iou_threshold)]
    index = np.searchsorted(np.arange(1, BINS) / BINS, matches.scores, side="right")
    count, score_sum, right_sum = (np.bincount(index, weights, BINS) for weights in (None, matches.scores, right))
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
    return {"expected_calibration_error": error, "bins": bins}
