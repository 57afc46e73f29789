"""Why a model is wrong: its errors at one score threshold, split by cause.

The split is TIDE's (Bolya et al., arXiv 2008.08115, and its program `tidecv`): each false positive has one cause, the
first of localisation, classification, duplicate, background and both that holds; `missed` are the labels that nobody
takes and that no localisation or classification error points at.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from trainable.detection import Detections, GroundTruth, Matches, iou

FOREGROUND_IOU, BACKGROUND_IOU = 0.5, 0.1
"""TIDE's t_f, at which a box is right, and t_b, below which it has nothing to do with a label."""

ERRORS = {
    "classification": "right place, wrong class",
    "localisation": "right class, box too far off",
    "both": "wrong class and box too far off",
    "duplicate": "a second box on a label that is taken",
    "background": "nothing labelled there",
    "missed": "a label that no detection comes near",
}
"""What each kind means."""


def count_errors(
    detections: Sequence[Detections], ground_truth: Sequence[GroundTruth], matches: Matches, score_threshold: float
) -> dict[str, int]:
    """How many errors of each of the `ERRORS` there are among the detections at or above a score threshold.

    Args:
        detections: one entry an image.
        ground_truth: the same images in the same order.
        matches: of these, `FOREGROUND_IOU` among its thresholds.
        score_threshold: a detection counts at score >= threshold.

    Returns:
        Counts in the order of `ERRORS`; all but `missed` add up to the false positives.
    """
    taken = matches.labels[:, matches.iou_thresholds.index(FOREGROUND_IOU)]
    counted = matches.scores >= score_threshold
    counts = Counter(dict.fromkeys(ERRORS, 0))
    detection = label = 0
    for found, labelled in zip(detections, ground_truth, strict=True):
        here = slice(detection, detection + len(found.scores))
        right, wrong = (counted[here] & is_kind for is_kind in (taken[here] >= 0, taken[here] < 0))
        met = set((taken[here][right] - label).tolist())
        for kind, pointed_at in _false_positives(found, labelled, wrong):
            counts[kind] += 1
            met |= pointed_at
        counts["missed"] += len(labelled.class_ids) - len(met)
        detection, label = here.stop, label + len(labelled.class_ids)
    return dict(counts)


def _false_positives(found: Detections, labelled: GroundTruth, wrong: np.ndarray) -> list[tuple[str, set[int]]]:
    """The kind of each detection at `wrong`, and the label of the image that it would take without its error."""
    boxes, labels = (each.boxes_xyxy_normalised.astype(np.float64) for each in (found, labelled))
    ious = iou(boxes[wrong][:, None], labels)  # [wrong detections, labels]
    is_own_class = found.class_ids[wrong][:, None] == labelled.class_ids
    return [_kind(*rows) for rows in zip(np.where(is_own_class, ious, 0), np.where(is_own_class, 0, ious), strict=True)]


def _kind(own: np.ndarray, others: np.ndarray) -> tuple[str, set[int]]:
    """The cause of a false positive, from its IoU with the labels of its own class and with those of others, each [m].

    Each is 0 where a label is of the other sort.
    """
    best, best_other = own.max(initial=0), others.max(initial=0)
    if BACKGROUND_IOU <= best < FOREGROUND_IOU:
        return "localisation", {int(own.argmax())}
    if best_other >= FOREGROUND_IOU:
        return "classification", {int(others.argmax())}
    if best >= FOREGROUND_IOU:
        return "duplicate", set()
    return ("both" if best_other >= BACKGROUND_IOU else "background"), set()
