"""The recommended score threshold, and what is said of what was asked for."""

import numpy as np
import pandas as pd
import pytest

from results.measures.operating_point import (
    OperatingPoint,
    PointRule,
    point_by_rule,
    point_of_best_f1,
    useful_range,
    why_none,
)
from results.measures.sweep import IOU_THRESHOLDS, sweep
from trainable.detection import Detections, GroundTruth, match

BOXES = np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.5, 0.0, 1.0, 0.5], [0.0, 0.5, 0.5, 1.0]])


def recommended(**asked: float) -> tuple[OperatingPoint, str | None, bool | None]:
    """Two of three labels are found, at 0.9 and at 0.6, and something wrong at 0.7: F1 is best at 0.6."""
    found = Detections(BOXES[[0, 3, 1]], np.array([0.9, 0.7, 0.6]), np.zeros(3, np.int64))
    matches = match([found], [GroundTruth(BOXES[:3], np.zeros(3, np.int64))], IOU_THRESHOLDS)
    point, outcome = point_by_rule(matches, sweep(matches, ["thing"]), PointRule(**asked))
    return point, outcome["constraint"], outcome["constraint_kept"]


def test_without_a_wish_it_is_the_best_f1_and_nothing_is_said() -> None:
    point, constraint, kept = recommended()
    assert (point.score_threshold, point.tp, point.fp, point.fn) == (0.6, 2, 1, 1)
    assert (constraint, kept) == (None, None)


def test_a_precision_that_can_be_kept_is_kept() -> None:
    point, constraint, kept = recommended(min_precision=0.8)
    assert (point.score_threshold, point.precision) == (0.9, 1.0)
    assert (constraint, kept) == ("precision >= 0.8 is kept", True)


def test_a_recall_out_of_reach_falls_back_to_the_best_f1_and_says_what_can_be() -> None:
    point, constraint, kept = recommended(min_precision=0.5, min_recall=0.9)
    assert point == recommended()[0]
    assert kept is False
    assert constraint is not None
    assert constraint.startswith(
        "precision >= 0.5 and recall >= 0.9 cannot be kept, so this is the point of the best F1"
    )
    assert "highest recall 0.667" in constraint


def test_a_given_score_threshold_is_taken_as_it_is() -> None:
    point, constraint, kept = recommended(score_threshold=0.65)
    assert (point.score_threshold, point.precision, point.recall) == pytest.approx((0.65, 0.5, 1 / 3))
    assert (constraint, kept) == (None, None)


@pytest.mark.parametrize(("least", "kept"), [(0.3, True), (0.5, False)])
def test_a_given_score_threshold_says_whether_it_keeps_what_was_asked(least: float, kept: bool) -> None:
    _, constraint, is_kept = recommended(score_threshold=0.65, min_recall=least)
    assert is_kept is kept
    assert constraint == f"recall >= {least} is {'kept' if kept else 'not kept at the given score threshold 0.65'}"


BOX, FAR = [0.0, 0.0, 0.5, 0.5], [0.75, 0.75, 1.0, 1.0]


def swept(found: list, labelled: list) -> pd.DataFrame:
    """The sweep of one image: (box, score, class id) of what was found in it, (box, class id) of its labels."""
    boxes, scores, class_ids = (np.array(column) for column in zip(*found, strict=True))
    label_boxes, label_ids = (np.array(column) for column in zip(*labelled, strict=True))
    matches = match([Detections(boxes, scores, class_ids)], [GroundTruth(label_boxes, label_ids)], IOU_THRESHOLDS)
    return sweep(matches, ("person", "car"))


# Falling scores: right, wrong, right, wrong, wrong, with three labels. The best F1 is 2/3, from 0.61 to 0.70.
FOUND = [(BOX, 0.9, 0), (BOX, 0.8, 0), (FAR, 0.7, 0), (FAR, 0.6, 0), (FAR, 0.5, 0)]
LABELLED = [(BOX, 0), (FAR, 0), (BOX, 1)]


def test_the_operating_point_is_the_highest_threshold_of_the_best_f1() -> None:
    point = point_of_best_f1(swept(FOUND, LABELLED))
    assert (point.score_threshold, point.tp, point.fp, point.fn) == (0.7, 2, 1, 1)
    assert (point.precision, point.recall, point.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_the_operating_point_keeps_the_precision_asked_for() -> None:
    point = point_of_best_f1(swept(FOUND, LABELLED), min_precision=0.9)
    assert (point.score_threshold, point.precision) == (0.9, 1.0)


def test_the_operating_point_keeps_the_recall_asked_for() -> None:
    table = swept([*FOUND, (BOX, 0.2, 1)], LABELLED)
    assert point_of_best_f1(table).score_threshold == 0.7
    assert point_of_best_f1(table, min_recall=0.9).score_threshold == 0.2


def test_an_operating_point_that_cannot_be_is_refused_with_what_can() -> None:
    with pytest.raises(ValueError, match=r"recall >= 0.9 at IoU 0.5: .*highest recall 0.667"):
        point_of_best_f1(swept(FOUND, LABELLED), min_recall=0.9)


def test_where_nothing_was_measured_no_threshold_can_be_recommended_and_the_reason_is_said() -> None:
    nothing_right = swept([(BOX, 0.4, 0)], [(FAR, 0)])
    assert why_none(nothing_right, PointRule()) == "no detection is right at any of them (IoU 0.5)"
    assert why_none(nothing_right, PointRule(score_threshold=0.5)) is None, "one that is given is only measured"
    found = Detections(BOXES[:1], np.array([0.9]), np.zeros(1, np.int64))
    no_labels = sweep(match([found], [GroundTruth(np.zeros((0, 4)), np.zeros(0, np.int64))], IOU_THRESHOLDS), ["thing"])
    for rule in (PointRule(), PointRule(score_threshold=0.5)):
        assert why_none(no_labels, rule) == "there is no labelled box to measure it by"
    assert why_none(swept(FOUND, LABELLED), PointRule()) is None


def test_an_operating_point_at_an_iou_that_was_not_swept_is_refused() -> None:
    with pytest.raises(ValueError, match=r"iou: one of \[0.5, .*got 0.3"):
        point_of_best_f1(swept(FOUND, LABELLED), iou=0.3)


def table_of(f1_at: dict[float, float]) -> pd.DataFrame:
    rows = [(0.5, score, "all", f1) for score, f1 in f1_at.items()] + [
        (0.75, 0.0, "all", 1.0),
        (0.5, 0.0, "thing", 1.0),
    ]
    return pd.DataFrame(rows, columns=["iou_threshold", "score_threshold", "class", "f1"])


def test_the_useful_range_is_where_f1_stays_near_its_best() -> None:
    assert useful_range(table_of({0.0: 0.1, 0.2: 0.77, 0.4: 0.8, 0.6: 0.76, 0.8: 0.75, 1.0: 0.0})) == (0.2, 0.6)
    assert useful_range(table_of({0.0: 0.1, 0.2: 0.4, 0.4: 0.1})) == (0.2, 0.2)


def test_where_f1_is_0_no_score_threshold_is_of_use() -> None:
    assert useful_range(table_of({0.0: 0.0, 0.5: 0.0})) is None
