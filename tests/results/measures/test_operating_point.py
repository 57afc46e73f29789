"""The recommended score threshold, and what is said of what was asked for."""

import numpy as np
import pytest

from results.measures.operating_point import PointRule, recommend
from results.measures.sweep import IOU_THRESHOLDS, OperatingPoint, sweep
from trainable.detection import Detections, Truths, match

BOXES = np.array([[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.5, 0.0, 1.0, 0.5], [0.0, 0.5, 0.5, 1.0]])


def recommended(**asked: float) -> tuple[OperatingPoint, str | None, bool | None]:
    """Two of three labels are found, at 0.9 and at 0.6, and something wrong at 0.7: F1 is best at 0.6."""
    found = Detections(BOXES[[0, 3, 1]], np.array([0.9, 0.7, 0.6]), np.zeros(3, np.int64))
    matches = match([found], [Truths(BOXES[:3], np.zeros(3, np.int64))], IOU_THRESHOLDS)
    point, outcome = recommend(matches, sweep(matches, ["thing"]), PointRule(**asked))
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
