"""The sweep against a loop that spells the rule out."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.measures.sweep import IOU_THRESHOLDS, sweep
from trainable.detection import SCORE_THRESHOLDS, Detections, GroundTruth, match, precision_recall_f1, scores_at

NAMES = ("person", "car")

# Corners on a coarse binary grid: IoUs are exact, often tied, and often right at a threshold.
boxes = st.tuples(*[st.integers(0, 2)] * 2, *[st.integers(1, 4)] * 2).map(
    lambda box: [box[0] / 8, box[1] / 8, (box[0] + box[2]) / 8, (box[1] + box[3]) / 8]
)
class_ids = st.integers(0, len(NAMES) - 1)
scores = st.sampled_from([0.0, 0.29, 0.3, 0.305, 0.57, 0.58, 1.0])  # tied with each other and with the thresholds
detections = st.lists(st.tuples(boxes, scores, class_ids), max_size=6)
ground_truth = st.lists(st.tuples(boxes, class_ids), max_size=4)


def as_detections(rows: list[tuple[list[float], float, int]], score_dtype: type = np.float64) -> Detections:
    return Detections(
        np.array([box for box, _, _ in rows]).reshape(-1, 4),
        np.array([score for _, score, _ in rows], score_dtype),
        np.array([class_id for _, _, class_id in rows], np.int64),
    )


def as_ground_truth(rows: list[tuple[list[float], int]]) -> GroundTruth:
    return GroundTruth(np.array([box for box, _ in rows]).reshape(-1, 4), np.array([c for _, c in rows], np.int64))


def iou(box: list[float], other: list[float]) -> float:
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((box[2] - box[0]) * (box[3] - box[1]) + (other[2] - other[0]) * (other[3] - other[1]) - shared)


def counts_by_loops(
    images: list[tuple[list, list]], class_id: int, iou_threshold: float, score_threshold: float
) -> tuple[int, int, int]:
    """Drops what is below the score threshold, then matches the rest."""
    tp = fp = fn = 0
    for found, labelled in images:
        free = [box for box, label_class in labelled if label_class == class_id]
        counted = [row for row in found if row[2] == class_id and row[1] >= score_threshold]
        for box, _, _ in sorted(counted, key=lambda row: -row[1]):
            overlaps = [iou(box, label) for label in free]
            if overlaps and max(overlaps) >= iou_threshold:
                last_of_the_best = max(range(len(free)), key=lambda index: (overlaps[index], index))
                free.pop(last_of_the_best)
                tp += 1
            else:
                fp += 1
        fn += len(free)
    return tp, fp, fn


def by_key(table: pd.DataFrame) -> dict:
    """The other columns of each row, by class, IoU threshold and score threshold."""
    return table.set_index(["class", "iou_threshold", "score_threshold"]).to_dict("index")


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(detections, ground_truth), max_size=4))
def test_the_sweep_equals_a_loop(images: list[tuple[list, list]]) -> None:
    matches = match(
        [as_detections(found) for found, _ in images],
        [as_ground_truth(labels) for _, labels in images],
        IOU_THRESHOLDS,
    )
    rows = by_key(sweep(matches, NAMES))
    for iou_threshold, score_threshold in itertools.product((0.5, 0.75, 0.8), (0.0, 0.29, 0.3, 0.31, 0.58, 1.0)):
        expected = [counts_by_loops(images, c, iou_threshold, score_threshold) for c in range(len(NAMES))]
        for name, counts in zip((*NAMES, "all"), [*expected, np.sum(expected, axis=0)], strict=True):
            row = rows[(name, iou_threshold, score_threshold)]
            assert (row["tp"], row["fp"], row["fn"]) == tuple(counts)


BOX, FAR = [0.0, 0.0, 0.5, 0.5], [0.75, 0.75, 1.0, 1.0]


def swept(found: list, labelled: list, names: tuple[str, ...] = NAMES, score_dtype: type = np.float64) -> pd.DataFrame:
    return sweep(match([as_detections(found, score_dtype)], [as_ground_truth(labelled)], IOU_THRESHOLDS), names)


def test_the_grid_is_whole_for_every_class_and_all() -> None:
    table = swept([(BOX, 0.9, 0)], [])
    assert list(table) == ["iou_threshold", "score_threshold", "class", "tp", "fp", "fn", "precision", "recall", "f1"]
    assert table["class"].unique().tolist() == ["person", "car", "all"]
    assert len(table) == 3 * 10 * 101
    assert table["iou_threshold"].unique().tolist() == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]
    assert table["score_threshold"].unique().tolist() == [float(f"{i / 100:.2f}") for i in range(101)]
    assert not table.isna().any(axis=None)


def test_the_sweep_agrees_with_scores_at() -> None:
    matches = match([as_detections([(BOX, 0.7, 0), (FAR, 0.4, 1)])], [as_ground_truth([(BOX, 0)])], IOU_THRESHOLDS)
    rows = by_key(sweep(matches, NAMES))
    for iou_threshold, score_threshold in itertools.product(IOU_THRESHOLDS, SCORE_THRESHOLDS):
        expected = vars(scores_at(matches, iou_threshold, score_threshold))
        assert rows[("all", iou_threshold, score_threshold)] == expected


def test_float32_scores_meet_thresholds_at_their_exact_value() -> None:
    table = swept([(BOX, 0.7, 0), (BOX, 0.1, 0)], [], score_dtype=np.float32)
    counted = table[(table["class"] == "all") & (table["iou_threshold"] == 0.5)].set_index("score_threshold")["fp"]
    assert float(np.float32(0.7)) < 0.7 and float(np.float32(0.1)) > 0.1
    assert (counted[0.1], counted[0.11], counted[0.69], counted[0.7]) == (2, 1, 1, 0)


def test_ratios_are_those_of_the_counts() -> None:
    table = swept([(BOX, 0.7, 0), (FAR, 0.4, 1)], [(BOX, 0), (BOX, 1)])
    expected = precision_recall_f1(*(table[name].to_numpy() for name in ("tp", "fp", "fn")))
    np.testing.assert_array_equal(table[["precision", "recall", "f1"]].to_numpy().T, expected)


def test_a_class_named_all_is_told_apart_from_the_sum() -> None:
    table = swept([(BOX, 0.9, 0), (BOX, 0.9, 1)], [], names=("all", "car"))
    at_zero = table[(table["iou_threshold"] == 0.5) & (table["score_threshold"] == 0)]
    assert at_zero.set_index("class")["fp"].to_dict() == {"all (class)": 1, "car": 1, "all": 2}


@pytest.mark.parametrize("rows", [([(BOX, 0.9, 2)], []), ([], [(BOX, 2)])])
def test_a_class_id_without_a_name_is_refused(rows: tuple[list, list]) -> None:
    with pytest.raises(ValueError, match="got 2 names and class id 2"):
        swept(*rows)
