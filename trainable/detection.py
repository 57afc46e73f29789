"""Which detections are right: boxes matched to labels, and the precision, recall and F1 that follow.

The rule is COCO's. Within one class of one image, detections in falling order of score (ties: in order of query)
each take the free label of highest IoU (ties: the last such label) at or above the IoU threshold. Whoever takes none
is a false positive; a label that nobody takes is a false negative. Pairs without labels count: every detection on them
is a false positive.

A detection's match depends only on detections of higher score. So matching once per IoU threshold is enough: what
holds at a score threshold is read off the detections at or above it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IOU_THRESHOLD = 0.5
"""At which a detection is right, wherever one operating point is spoken of."""

SCORE_THRESHOLDS = tuple(round(i / 100, 2) for i in range(101))
"""0.00, 0.01, ..., 1.00: of which one is chosen to run a model at."""

_BLOCK = 1 << 16
"""Detections compared with their labels at a time; bounds the memory of `match`."""


@dataclass(frozen=True)
class Detections:
    """What a model found in one image, an entry each."""

    boxes_xyxy_normalised: np.ndarray
    """[n, 4], corners relative to the image's width and height; may reach beyond [0, 1]."""
    scores: np.ndarray
    """[n], in [0, 1]."""
    class_ids: np.ndarray
    """[n], int64."""


@dataclass(frozen=True)
class GroundTruth:
    """The labels of one image; none where nothing moved."""

    boxes_xyxy_normalised: np.ndarray
    """[m, 4], corners relative to the image's width and height."""
    class_ids: np.ndarray
    """[m], int64."""


@dataclass(frozen=True)
class Matches:
    """All detections of all images, flat, and which of them are right at which IoU threshold."""

    iou_thresholds: tuple[float, ...]
    images: np.ndarray
    """[n], index of the detection's image."""
    class_ids: np.ndarray
    """[n], int64."""
    scores: np.ndarray
    """[n], float64."""
    is_true_positive: np.ndarray
    """[n, IoU thresholds], bool."""
    labels: np.ndarray
    """[n, IoU thresholds], the label taken, counted through all images; -1 for none."""
    labels_per_class: np.ndarray
    """[highest class id + 1], labels of each class in all images."""


@dataclass(frozen=True)
class Scores:
    """Precision, recall and F1 (`precision_recall_f1`), and the counts that they come from."""

    precision: float
    recall: float
    f1: float
    tp: int
    fp: int
    fn: int


def ground_truth_from_labels(labels: Mapping[str, Any]) -> GroundTruth:
    """The labels of one image as the data set gives them.

    Args:
        labels: `boxes` [m, 4] as normalised centre, width and height, and `class_labels` [m]; in the memory of the CPU.
    """
    boxes_cxcywh_normalised = np.asarray(labels["boxes"]).reshape(-1, 4)
    return GroundTruth(_corners(boxes_cxcywh_normalised), np.asarray(labels["class_labels"], dtype=np.int64))


def match(
    detections: Sequence[Detections], ground_truth: Sequence[GroundTruth], iou_thresholds: Sequence[float]
) -> Matches:
    """Finds the true positives among all detections, once per IoU threshold, by the rule of this module.

    Args:
        detections: one entry an image.
        ground_truth: the same images in the same order.
        iou_thresholds: each above 0; at least one.

    Raises:
        ValueError: there are not as many detections as ground truths, or an IoU threshold is out of range.
    """
    if len(detections) != len(ground_truth):
        raise ValueError(
            f"one GroundTruth an image is needed: got {len(detections)} Detections, {len(ground_truth)} GroundTruth"
        )
    if not iou_thresholds or not all(0 < threshold <= 1 for threshold in iou_thresholds):
        raise ValueError(f"iou_thresholds: one or more in (0, 1], got {tuple(iou_thresholds)}")
    found, labelled = _flatten(detections), _flatten(ground_truth)
    scores = _joined([image.scores for image in detections], np.float64)
    pairs = _pairs_in_order(found, labelled, scores, min(iou_thresholds))
    labels = np.full((len(scores), len(iou_thresholds)), -1)
    for index, threshold in enumerate(iou_thresholds):
        taken = _matched(pairs.only(pairs.ious >= threshold))
        labels[taken.detections, index] = taken.labels
    return Matches(
        iou_thresholds=tuple(iou_thresholds),
        images=found.images,
        class_ids=found.class_ids,
        scores=scores,
        is_true_positive=labels >= 0,
        labels=labels,
        labels_per_class=np.bincount(labelled.class_ids),
    )


def scores_at(matches: Matches, iou_threshold: float, score_threshold: float) -> Scores:
    """Precision, recall and F1 of all classes together; a detection counts at score >= threshold.

    Raises:
        ValueError: `iou_threshold` is none of those that were matched.
    """
    if iou_threshold not in matches.iou_thresholds:
        raise ValueError(f"iou_threshold: one of {matches.iou_thresholds} (those matched), got {iou_threshold}")
    counted = matches.scores >= score_threshold
    right = matches.is_true_positive[:, matches.iou_thresholds.index(iou_threshold)]
    tp = int((counted & right).sum())
    fp = int(counted.sum()) - tp
    fn = int(matches.labels_per_class.sum()) - tp
    precision, recall, f1 = (float(value) for value in precision_recall_f1(tp, fp, fn))
    return Scores(precision, recall, f1, tp, fp, fn)


def max_f1(matches: Matches, iou_threshold: float = IOU_THRESHOLD) -> float:
    """F1 of all classes together at the one of `SCORE_THRESHOLDS` at which it is the highest.

    Raises:
        ValueError: `iou_threshold` is none of those that were matched.
    """
    return max(scores_at(matches, iou_threshold, threshold).f1 for threshold in SCORE_THRESHOLDS)


def precision_recall_f1(
    tp: np.ndarray | int, fp: np.ndarray | int, fn: np.ndarray | int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of counts of any one shape.

    0/0 is 0: no detections have precision 0, no labels have recall 0, and without both F1 is 0. So nothing looks
    good for having found nothing.
    """
    tp, fp, fn = np.asarray(tp), np.asarray(fp), np.asarray(fn)
    return _ratio(tp, tp + fp), _ratio(tp, tp + fn), _ratio(2 * tp, 2 * tp + fp + fn)


def iou(boxes_xyxy: np.ndarray, others_xyxy: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes in one unit; 0 where both are empty.

    Args:
        boxes_xyxy: [..., 4].
        others_xyxy: [..., 4], of a shape that broadcasts: [n, 1, 4] with [m, 4] gives [n, m].
    """
    sides = np.minimum(boxes_xyxy[..., 2:], others_xyxy[..., 2:]) - np.maximum(
        boxes_xyxy[..., :2], others_xyxy[..., :2]
    )
    intersection = sides.clip(0).prod(axis=-1)
    area, other_area = ((xyxy[..., 2:] - xyxy[..., :2]).prod(axis=-1) for xyxy in (boxes_xyxy, others_xyxy))
    return _ratio(intersection, area + other_area - intersection)


def _corners(boxes_cxcywh: np.ndarray) -> np.ndarray:
    """[..., 4] centre, width, height -> [..., 4] left, top, right, bottom, in the same unit."""
    centre, size = np.split(boxes_cxcywh, 2, axis=-1)
    return np.concatenate([centre - 0.5 * size, centre + 0.5 * size], axis=-1)


@dataclass(frozen=True)
class _Boxes:
    """Boxes of all images, flat."""

    xyxy_normalised: np.ndarray
    """[n, 4], float64."""
    class_ids: np.ndarray
    images: np.ndarray

    def groups(self, class_count: int) -> np.ndarray:
        """[n], one number for each class of each image; only boxes of one group can match."""
        numbers: np.ndarray = self.images * class_count + self.class_ids
        return numbers


def _flatten(per_image: Sequence[Detections] | Sequence[GroundTruth]) -> _Boxes:
    class_ids = [image.class_ids for image in per_image]
    return _Boxes(
        xyxy_normalised=_joined([image.boxes_xyxy_normalised for image in per_image], np.float64).reshape(-1, 4),
        class_ids=_joined(class_ids, np.int64),
        images=np.repeat(np.arange(len(class_ids)), [len(ids) for ids in class_ids]),
    )


def _joined(arrays: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate(arrays).astype(dtype, copy=False) if arrays else np.empty(0, dtype)


@dataclass(frozen=True)
class _Pairs:
    """Detections beside labels of their group, in the order in which the rule looks at them."""

    detections: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    ious: np.ndarray

    def only(self, keep: np.ndarray) -> "_Pairs":
        """Those at `keep`, a mask or positions."""
        return _Pairs(self.detections[keep], self.labels[keep], self.groups[keep], self.ious[keep])


def _pairs_in_order(found: _Boxes, labelled: _Boxes, scores: np.ndarray, min_iou: float) -> _Pairs:
    """All pairs of a detection and a label of its group that overlap by `min_iou` or more.

    Ordered by group, then falling score, then query, then falling IoU, then last label first.
    """
    class_count = 1 + max(found.class_ids.max(initial=0), labelled.class_ids.max(initial=0))
    groups, label_groups = found.groups(class_count), labelled.groups(class_count)
    by_group = np.argsort(label_groups, kind="stable")
    starts = np.searchsorted(label_groups[by_group], groups, side="left")
    counts = np.searchsorted(label_groups[by_group], groups, side="right") - starts
    blocks = []
    for first in range(0, max(len(groups), 1), _BLOCK):
        count = counts[first : first + _BLOCK]
        detections = first + np.repeat(np.arange(len(count)), count)
        nth_label = np.arange(len(detections)) - np.repeat(np.cumsum(count) - count, count)
        labels = by_group[starts[detections] + nth_label]
        ious = iou(found.xyxy_normalised[detections], labelled.xyxy_normalised[labels])
        overlaps = ious >= min_iou
        blocks.append((detections[overlaps], labels[overlaps], ious[overlaps]))
    detections, labels, ious = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    order = np.lexsort((-labels, -ious, detections, -scores[detections], groups[detections]))
    return _Pairs(detections, labels, groups[detections], ious).only(order)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio = np.zeros(np.shape(whole))
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _matched(pairs: _Pairs) -> _Pairs:
    """Those in which the detection takes the label.

    The first pair of a group is always a match. Each round takes it in all groups at once and drops the pairs that
    want the same detection or label; there are at most as many rounds as labels in a group.
    """
    matched = []
    left = np.arange(len(pairs.detections))
    is_taken = np.zeros(pairs.detections.max(initial=-1) + 1, dtype=bool)
    is_label_taken = np.zeros(pairs.labels.max(initial=-1) + 1, dtype=bool)
    while len(left):
        first = left[np.diff(pairs.groups[left], prepend=-1) != 0]
        matched.append(first)
        is_taken[pairs.detections[first]] = True
        is_label_taken[pairs.labels[first]] = True
        left = left[~is_taken[pairs.detections[left]] & ~is_label_taken[pairs.labels[left]]]
    return pairs.only(_joined(matched, np.int64))
