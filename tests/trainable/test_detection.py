"""Matching, and what comes of it."""

import numpy as np
import pytest
import torch
from faster_coco_eval import COCOeval_faster

from trainable.coco import coco_labels, coco_metrics, coco_results
from trainable.detection import (
    Detections,
    GroundTruth,
    ground_truth_from_labels,
    match,
    precision_recall_f1,
    scores_at,
)

IOU_THRESHOLDS = (0.5, 0.75)


def detections(*rows: tuple[list[float], float, int]) -> Detections:
    boxes = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows], np.float32)
    return Detections(boxes, scores, np.array([class_id for _, _, class_id in rows], np.int64))


def ground_truth(*rows: tuple[list[float], int]) -> GroundTruth:
    boxes = np.array([box for box, _ in rows], np.float32).reshape(-1, 4)
    return GroundTruth(boxes, np.array([class_id for _, class_id in rows], np.int64))


BOX = [0.0, 0.0, 0.5, 0.5]
FAR = [0.75, 0.75, 1.0, 1.0]


def test_labels_become_corners() -> None:
    labels = {"boxes": torch.tensor([[0.5, 0.5, 0.5, 0.25]]), "class_labels": torch.tensor([2])}
    labelled = ground_truth_from_labels(labels)
    assert labelled.boxes_xyxy_normalised.tolist() == [[0.25, 0.375, 0.75, 0.625]]
    assert labelled.class_ids.tolist() == [2]


def test_an_image_without_labels_gives_no_ground_truth() -> None:
    labelled = ground_truth_from_labels({"boxes": torch.zeros(0, 4), "class_labels": torch.zeros(0, dtype=torch.long)})
    assert labelled.boxes_xyxy_normalised.shape == (0, 4)
    assert labelled.class_ids.shape == (0,)


def test_the_second_detection_of_a_label_is_a_false_positive() -> None:
    matches = match([detections((BOX, 0.6, 0), (BOX, 0.9, 0))], [ground_truth((BOX, 0))], IOU_THRESHOLDS)
    assert matches.is_true_positive.tolist() == [[False, False], [True, True]]


def test_of_equal_scores_the_earlier_query_comes_first() -> None:
    matches = match([detections((BOX, 0.6, 0), (BOX, 0.6, 0))], [ground_truth((BOX, 0))], IOU_THRESHOLDS)
    assert matches.is_true_positive.tolist() == [[True, True], [False, False]]


def test_a_detection_takes_the_free_label_of_highest_iou() -> None:
    near = [0.0, 0.0, 0.5, 0.4375]  # IoU with BOX 0.875
    found = detections((BOX, 0.9, 0), (BOX, 0.8, 0), (near, 0.7, 0))
    matches = match([found], [ground_truth((near, 0), (BOX, 0))], (0.5, 0.9))
    assert matches.is_true_positive.tolist() == [[True, True], [True, False], [False, True]]


def test_of_labels_with_equal_iou_the_last_is_taken_as_coco_does() -> None:
    left, middle, right, far_right = ([x / 16, 0.0, (x + 8) / 16, 0.5] for x in (0, 2, 4, 6))
    found, labelled = detections((middle, 0.9, 0), (far_right, 0.8, 0)), ground_truth((left, 0), (right, 0))
    assert match([found], [labelled], (0.5,)).is_true_positive.tolist() == [[True], [False]]
    assert coco_metrics([found], [labelled], [(160, 160)], ["a"])["mAP50"] == pytest.approx(51 / 101)


def test_an_iou_at_the_threshold_is_enough() -> None:
    half = [0.0, 0.0, 0.5, 0.25]
    matches = match([detections((half, 0.9, 0))], [ground_truth((BOX, 0))], (0.5, 0.51))
    assert matches.is_true_positive.tolist() == [[True, False]]


def test_the_right_box_of_the_wrong_class_or_image_is_a_false_positive() -> None:
    found = [detections((BOX, 0.9, 1)), detections((BOX, 0.9, 0))]
    matches = match(found, [ground_truth((BOX, 0)), ground_truth((BOX, 1))], (0.5,))
    assert scores_at(matches, 0.5, 0.0).fp == 2


def test_still_pairs_count_as_false_positives() -> None:
    still = detections(*[(BOX, 0.9, 0)] * 9)
    matches = match([detections((BOX, 0.9, 0)), still], [ground_truth((BOX, 0)), ground_truth()], (0.5,))
    scores = scores_at(matches, 0.5, 0.5)
    assert (scores.tp, scores.fp, scores.fn) == (1, 9, 0)
    assert scores.precision == pytest.approx(0.1)


def test_scores_at_counts_from_the_threshold_on() -> None:
    found = detections((BOX, 0.5, 0), (FAR, 0.25, 0), (FAR, 0.125, 1))
    matches = match([found], [ground_truth((BOX, 0), (FAR, 1))], (0.5,))
    assert [scores_at(matches, 0.5, at).tp for at in (0.0, 0.125, 0.5, 0.51)] == [2, 2, 1, 0]
    scores = scores_at(matches, 0.5, 0.25)
    assert (scores.tp, scores.fp, scores.fn) == (1, 1, 1)
    assert (scores.precision, scores.recall, scores.f1) == (0.5, 0.5, 0.5)


def test_nothing_found_scores_nothing() -> None:
    empty = scores_at(match([detections()], [ground_truth()], (0.5,)), 0.5, 0.5)
    missed = scores_at(match([detections()], [ground_truth((BOX, 0))], (0.5,)), 0.5, 0.5)
    no_images = scores_at(match([], [], (0.5,)), 0.5, 0.5)
    assert (empty.f1, missed.f1, missed.fn, no_images.fn) == (0.0, 0.0, 1, 0)


def test_precision_recall_and_f1_of_many_counts_at_once() -> None:
    precision, recall, f1 = precision_recall_f1(np.array([3, 0]), np.array([1, 0]), np.array([3, 0]))
    assert precision.tolist() == [0.75, 0.0]
    assert recall.tolist() == [0.5, 0.0]
    assert f1.tolist() == pytest.approx([0.6, 0.0])


def test_an_iou_threshold_that_was_not_matched_is_refused() -> None:
    matches = match([], [], (0.5, 0.75))
    with pytest.raises(ValueError, match=r"one of \(0.5, 0.75\) .*got 0.6"):
        scores_at(matches, 0.6, 0.5)


def test_a_missing_image_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1 Detections, 0 GroundTruth"):
        match([detections()], [], (0.5,))


@pytest.mark.parametrize("thresholds", [(), (0.0,), (0.5, 1.5)])
def test_iou_thresholds_out_of_range_are_refused(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="iou_thresholds"):
        match([], [], thresholds)


def test_precision_over_recall_agrees_with_coco() -> None:
    """Our flags, made into COCO's interpolated curve, are faster-coco-eval's, class by class and IoU by IoU."""
    found, labelled = _random_images(images=40)
    sizes, names = [(640, 480)] * len(found), ("a", "b")
    labels = coco_labels(labelled, sizes, names)
    coco = COCOeval_faster(labels, labels.loadRes(coco_results(found, sizes)), iouType="bbox")
    coco.evaluate()
    coco.accumulate()
    matches = match(found, labelled, coco.params.iouThrs.tolist())
    falling = np.argsort(-matches.scores)
    for class_id, label_count in enumerate(matches.labels_per_class):
        of_class = falling[matches.class_ids[falling] == class_id]
        for index, right in enumerate(matches.is_true_positive[of_class].T):
            tp = right.cumsum()
            recall, precision = tp / label_count, tp / np.arange(1, len(tp) + 1)
            assert coco.eval["recall"][index, class_id, 0, -1] == pytest.approx(recall[-1])
            best_from_here = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0)
            curve = best_from_here[np.searchsorted(recall, coco.params.recThrs)]
            np.testing.assert_allclose(curve, coco.eval["precision"][index, :, class_id, 0, -1], atol=1e-9)
    assert 0.2 < matches.is_true_positive[:, 0].mean() < 0.8


def test_matches_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    found, labelled = _random_images(images=5)
    whole = match(found, labelled, IOU_THRESHOLDS)
    monkeypatch.setattr("trainable.detection._BLOCK", 7)
    np.testing.assert_array_equal(match(found, labelled, IOU_THRESHOLDS).is_true_positive, whole.is_true_positive)


def _random_images(images: int) -> tuple[list[Detections], list[GroundTruth]]:
    """Crowded images of two classes, so that detections compete for labels; no two scores are the same."""
    random = np.random.default_rng(0)
    scores = random.permutation(np.linspace(0, 1, images * 20)).reshape(images, 20)
    found, labelled = [], []
    for index in range(images):
        corners = random.uniform(0, 0.3, (10, 2))
        boxes = np.hstack([corners, corners + random.uniform(0.3, 0.6, (10, 2))])
        class_ids = random.integers(2, size=10)
        labelled.append(GroundTruth(boxes, class_ids))
        shifted = np.tile(boxes, (2, 1)) + random.normal(scale=0.04, size=(20, 4))
        found.append(Detections(shifted, scores[index], np.tile(class_ids, 2)))
    return [*found, detections((BOX, 0.123, 0))], [*labelled, ground_truth()]
