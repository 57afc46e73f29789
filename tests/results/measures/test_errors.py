"""Each of TIDE's kinds of error by a hand-made case."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results.measures.errors import ERRORS, count_errors
from trainable.detection import Detections, GroundTruth, match, scores_at

PERSON, CAR = 0, 1
BOX = [0.0, 0.0, 0.5, 0.5]
NEAR = [0.0, 0.0, 0.5, 0.2]  # IoU 0.4 with BOX
TOUCHING = [0.45, 0.0, 0.95, 0.5]  # IoU 0.05 with BOX
FAR = [0.75, 0.75, 1.0, 1.0]

Found = list[tuple[list[float], float, int]]
Labelled = list[tuple[list[float], int]]


def errors(*images: tuple[Found, Labelled], score_threshold: float = 0.5) -> dict[str, int]:
    """The kinds that occur, with their counts."""
    detections, ground_truth = as_arrays(*images)
    counts = count_errors(detections, ground_truth, match(detections, ground_truth, [0.5]), score_threshold)
    assert list(counts) == list(ERRORS)
    return {kind: count for kind, count in counts.items() if count}


def as_arrays(*images: tuple[Found, Labelled]) -> tuple[list[Detections], list[GroundTruth]]:
    detections = [
        Detections(
            np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
            np.array([score for _, score, _ in found], np.float32),
            np.array([class_id for _, _, class_id in found], np.int64),
        )
        for found, _ in images
    ]
    ground_truth = [
        GroundTruth(
            np.array([box for box, _ in labels], np.float32).reshape(-1, 4), np.array([c for _, c in labels], int)
        )
        for _, labels in images
    ]
    return detections, ground_truth


def test_what_is_right_is_no_error() -> None:
    assert errors(([(BOX, 0.9, PERSON)], [(BOX, PERSON)])) == {}


def test_the_right_place_with_the_wrong_class_is_a_classification_error_and_its_label_is_not_missed() -> None:
    assert errors(([(BOX, 0.9, CAR)], [(BOX, PERSON)])) == {"classification": 1}


def test_a_box_too_far_off_is_a_localisation_error_and_its_label_is_not_missed() -> None:
    assert errors(([(NEAR, 0.9, PERSON)], [(BOX, PERSON)])) == {"localisation": 1}


def test_the_wrong_class_too_far_off_is_both_and_its_label_is_missed() -> None:
    assert errors(([(NEAR, 0.9, CAR)], [(BOX, PERSON)])) == {"both": 1, "missed": 1}


def test_a_second_box_on_a_taken_label_is_a_duplicate() -> None:
    assert errors(([(BOX, 0.9, PERSON), (BOX, 0.8, PERSON)], [(BOX, PERSON)])) == {"duplicate": 1}


@pytest.mark.parametrize("box", [FAR, TOUCHING])
def test_a_box_where_nothing_is_labelled_is_background(box: list[float]) -> None:
    assert errors(([(box, 0.9, PERSON)], [(BOX, PERSON)])) == {"background": 1, "missed": 1}


def test_every_box_on_a_still_pair_is_background() -> None:
    assert errors(([(BOX, 0.9, PERSON), (BOX, 0.8, CAR)], [])) == {"background": 2}


def test_a_label_that_no_detection_comes_near_is_missed() -> None:
    assert errors(([], [(BOX, PERSON), (FAR, CAR)])) == {"missed": 2}


def test_localisation_goes_before_classification() -> None:
    labels = [(NEAR, PERSON), (BOX, CAR)]
    assert errors(([(BOX, 0.9, PERSON)], labels)) == {"localisation": 1, "missed": 1}


def test_detections_below_the_score_threshold_do_not_count() -> None:
    found = [(BOX, 0.9, PERSON), (BOX, 0.7, PERSON), (FAR, 0.49, PERSON)]
    assert errors((found, [(BOX, PERSON)]), score_threshold=0.7) == {}  # float32 0.7 is below 0.7
    assert errors((found, [(BOX, PERSON)])) == {"duplicate": 1}


def test_labels_are_counted_in_their_own_image() -> None:
    first = ([(BOX, 0.9, PERSON)], [(BOX, PERSON), (FAR, PERSON)])
    second = ([(FAR, 0.9, CAR)], [(FAR, PERSON), (BOX, PERSON)])
    assert errors(first, ([], []), second) == {"classification": 1, "missed": 2}


boxes = st.sampled_from([BOX, NEAR, TOUCHING, FAR])
class_ids = st.sampled_from([PERSON, CAR])
images = st.tuples(
    st.lists(st.tuples(boxes, st.sampled_from([0.2, 0.5, 0.9]), class_ids), max_size=5),
    st.lists(st.tuples(boxes, class_ids), max_size=4),
)


@settings(deadline=None, max_examples=100)
@given(st.lists(images, max_size=4))
def test_all_kinds_but_missed_add_up_to_the_false_positives(drawn: list[tuple[Found, Labelled]]) -> None:
    detections, ground_truth = as_arrays(*drawn)
    scores = scores_at(match(detections, ground_truth, [0.5]), 0.5, 0.5)
    counts = errors(*drawn)
    assert sum(count for kind, count in counts.items() if kind != "missed") == scores.fp
    assert counts.get("missed", 0) <= scores.fn
