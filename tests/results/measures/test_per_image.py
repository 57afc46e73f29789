"""Counts, losses and flags of single images."""

import numpy as np
import pytest

from results.measures.per_image import counts_per_image, flagged_beside_others, pairs_by_loss
from trainable.detection import Detections, GroundTruth, match

BOX, FAR = [0.0, 0.0, 0.5, 0.5], [0.75, 0.75, 1.0, 1.0]
IDS = ["a", "b", "c"]
COUNTS = np.array([[2, 0, 0], [0, 3, 1], [1, 1, 1]])


def found(*rows: tuple[list[float], float]) -> Detections:
    boxes = np.array([box for box, _ in rows]).reshape(-1, 4)
    return Detections(boxes, np.array([score for _, score in rows]), np.zeros(len(rows), np.int64))


def labelled(*boxes: list[float]) -> GroundTruth:
    return GroundTruth(np.array(boxes).reshape(-1, 4), np.zeros(len(boxes), np.int64))


def test_each_image_has_its_own_counts() -> None:
    detections = [found((BOX, 0.9), (BOX, 0.5), (FAR, 0.2)), found(), found((FAR, 0.6)), found()]
    ground_truth = [labelled(BOX, FAR), labelled(BOX), labelled(), labelled()]
    counts = counts_per_image(match(detections, ground_truth, [0.5]), ground_truth, 0.5, 0.5)
    assert counts.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 0], [0, 0, 0]]


def test_pairs_are_ranked_worst_first() -> None:
    rows = pairs_by_loss(IDS, [0.5, 3.0, 0.5], COUNTS, [False, True, False])
    assert rows[0] == {"id": "b", "loss": 3.0, "tp": 0, "fp": 3, "fn": 1, "flagged": True}
    assert [row["id"] for row in rows] == ["b", "a", "c"]


def test_flagged_pairs_stand_beside_the_others() -> None:
    result = flagged_beside_others(IDS, COUNTS, [False, True, False])
    assert (result["count"], result["ids"], result["f1_flagged"]) == (1, ["b"], 0)
    assert result["f1_unflagged"] == pytest.approx(3 / 4)


@pytest.mark.parametrize(("flags", "empty"), [([True] * 3, "f1_unflagged"), ([False] * 3, "f1_flagged")])
def test_a_sort_without_pairs_has_no_f1(flags: list[bool], empty: str) -> None:
    assert flagged_beside_others(IDS, COUNTS, flags)[empty] is None
