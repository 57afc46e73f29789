"""The reliability of scores, by hand-made detections."""

import numpy as np
import pytest

from results.measures.calibration import calibration
from trainable.detection import Matches


def matches_of(scores: list[float], right: list[bool]) -> Matches:
    found = len(scores)
    labels = np.where(right, np.arange(found), -1)[:, None]
    return Matches(
        iou_thresholds=(0.5,),
        images=np.arange(found),
        class_ids=np.zeros(found, np.int64),
        scores=np.array(scores),
        is_true_positive=labels >= 0,
        labels=labels,
        labels_per_class=np.array([found]),
    )


def test_scores_that_are_probabilities_have_no_error() -> None:
    reliability = calibration(
        matches_of([0.75] * 4 + [0.25] * 4, [True, True, True, False] + [True] + [False] * 3), 0.0
    )
    assert reliability["expected_calibration_error"] == 0
    full = {
        bin["low"]: (bin["count"], bin["mean_score"], bin["precision"]) for bin in reliability["bins"] if bin["count"]
    }
    assert full == {0.2: (4, 0.25, 0.25), 0.7: (4, 0.75, 0.75)}


def test_the_error_is_the_distance_of_score_and_precision_weighted_by_count() -> None:
    reliability = calibration(matches_of([0.9, 0.9, 0.9, 0.3], [True, False, False, True]), 0.0)
    assert reliability["expected_calibration_error"] == pytest.approx(0.75 * (0.9 - 1 / 3) + 0.25 * 0.7)


def test_scores_too_high_and_too_low_do_not_cancel_out_over_bins() -> None:
    assert calibration(matches_of([0.9, 0.1], [False, True]), 0.0)["expected_calibration_error"] == pytest.approx(0.9)


def test_edges_belong_to_the_bin_above_and_one_to_the_last() -> None:
    bins = calibration(matches_of([0.0, 0.1, 0.3, 0.7, 0.999, 1.0], [True] * 6), 0.0)["bins"]
    assert [bin["count"] for bin in bins] == [1, 1, 0, 1, 0, 0, 0, 1, 0, 2]
    assert [(bin["low"], bin["high"]) for bin in bins[::9]] == [(0.0, 0.1), (0.9, 1.0)]


def test_without_detections_there_is_nothing_to_read() -> None:
    reliability = calibration(matches_of([], []), None)
    assert reliability["expected_calibration_error"] is None
    assert all((bin["count"], bin["mean_score"], bin["precision"]) == (0, None, None) for bin in reliability["bins"])


def test_queries_that_found_nothing_do_not_make_a_model_look_calibrated() -> None:
    scores, right = [0.9] * 10, [True] * 3 + [False] * 7
    shown = matches_of(scores, right)
    of_100_queries = matches_of(scores + [0.02] * 990, right + [False] * 990)
    assert calibration(of_100_queries, 0.0)["expected_calibration_error"] < 0.03
    for matches in (shown, of_100_queries):
        reliability = calibration(matches, 0.4)
        assert reliability["lowest_score"] == 0.4
        assert reliability["expected_calibration_error"] == pytest.approx(0.6)
        assert sum(bin["count"] for bin in reliability["bins"]) == 10


def test_a_detection_at_the_lowest_score_counts() -> None:
    assert sum(bin["count"] for bin in calibration(matches_of([0.39, 0.4, 0.41], [True] * 3), 0.4)["bins"]) == 2


def test_where_no_score_is_of_use_nothing_is_counted() -> None:
    reliability = calibration(matches_of([0.2, 0.9], [False, False]), None)
    assert (reliability["lowest_score"], reliability["expected_calibration_error"]) == (None, None)
    assert not any(bin["count"] for bin in reliability["bins"])
