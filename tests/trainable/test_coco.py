"""mAP and AR against pycocotools, and on data sets with nothing in them."""

import json

import numpy as np
import pytest

from trainable.coco import coco_metrics, coco_results
from trainable.detection import Detections, GroundTruth

NAMES = ("person", "car", "bike")
KEYS = ("mAP", "mAP50", "mAP75", "mAP_small", "mAP_medium", "mAP_large", "AR")
NO_DETECTIONS = Detections(np.empty((0, 4)), np.empty(0), np.empty(0, np.int64))
NO_GROUND_TRUTH = GroundTruth(np.empty((0, 4)), np.empty(0, np.int64))
BOX = np.array([[0.25, 0.25, 0.75, 0.75]])


def random_images(seed: int) -> tuple[list[Detections], list[GroundTruth], list[tuple[int, int]]]:
    """Images of unequal size with small, medium and large labels of two of the three classes, some empty."""
    random = np.random.default_rng(seed)
    detections, ground_truth, sizes = [], [], []
    for _ in range(25):
        count = int(random.choice([0, 3, 8]))
        corners = random.uniform(0, 0.5, (count, 2))
        boxes = np.hstack([corners, corners + random.uniform(0.02, 0.5, (count, 2))])
        class_ids = random.integers(2, size=count)
        noise = 30 - 2 * count
        shifted = np.tile(boxes, (2, 1)) + random.normal(scale=0.02, size=(2 * count, 4))
        detections.append(
            Detections(
                np.vstack([shifted, np.sort(random.random((noise, 2, 2)), axis=1).reshape(noise, 4)]),
                random.random(30).astype(np.float32),
                np.concatenate([np.tile(class_ids, 2), random.integers(3, size=noise)]),
            )
        )
        ground_truth.append(GroundTruth(boxes, class_ids))
        sizes.append((int(random.integers(200, 1300)), int(random.integers(200, 800))))
    return detections, ground_truth, sizes


def pycocotools_stats(
    detections: list[Detections], ground_truth: list[GroundTruth], sizes: list[tuple[int, int]]
) -> np.ndarray:
    """The twelve figures of pycocotools, from a data set written here anew."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    annotations: list[dict] = []
    for image, (labelled, (width, height)) in enumerate(zip(ground_truth, sizes, strict=True)):
        for (left, top, right, bottom), class_id in zip(
            labelled.boxes_xyxy_normalised, labelled.class_ids, strict=True
        ):
            x, y, w, h = left * width, top * height, (right - left) * width, (bottom - top) * height
            common = {"id": len(annotations) + 1, "image_id": image, "category_id": int(class_id), "iscrowd": 0}
            annotations.append({**common, "bbox": [x, y, w, h], "area": w * h})
    results = [
        [image, x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height, score, class_id]
        for image, (found, (width, height)) in enumerate(zip(detections, sizes, strict=True))
        for (x1, y1, x2, y2), score, class_id in zip(
            found.boxes_xyxy_normalised, found.scores, found.class_ids, strict=True
        )
    ]
    labels = coco.COCO()
    labels.dataset = {
        "info": {},
        "images": [{"id": i, "width": w, "height": h} for i, (w, h) in enumerate(sizes)],
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for i, name in enumerate(NAMES)],
    }
    labels.createIndex()
    evaluation = cocoeval.COCOeval(labels, labels.loadRes(np.array(results)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(5))
def test_metrics_agree_with_pycocotools(seed: int) -> None:
    images = random_images(seed)
    stats = pycocotools_stats(*images)
    metrics = coco_metrics(*images, NAMES)
    expected = dict(zip(KEYS, stats[[0, 1, 2, 3, 4, 5, 8]], strict=True))
    assert {key: metrics[key] for key in KEYS} == pytest.approx(expected, abs=1e-6)
    assert 0.05 < metrics["mAP"] < 0.95


def test_the_mean_of_the_classes_with_labels_is_the_whole() -> None:
    metrics = coco_metrics(*random_images(0), NAMES)
    person, car, bike = (metrics["per_class"][name] for name in NAMES)
    for key in ("mAP", "mAP50", "mAP75", "AR"):
        assert metrics[key] == pytest.approx((person[key] + car[key]) / 2)
    assert bike == dict.fromkeys(KEYS)


def test_perfect_detections_score_one() -> None:
    found, labelled = Detections(BOX, np.array([0.9]), np.array([1])), GroundTruth(BOX, np.array([1]))
    metrics = coco_metrics([found, NO_DETECTIONS], [labelled, NO_GROUND_TRUTH], [(100, 80), (50, 50)], NAMES)
    assert (metrics["mAP"], metrics["mAP75"], metrics["AR"], metrics["mAP_medium"]) == pytest.approx((1, 1, 1, 1))
    assert metrics["mAP_small"] is None


def test_a_still_pair_with_a_detection_of_higher_score_halves_the_precision() -> None:
    right, wrong = (Detections(BOX, np.array([score]), np.array([0])) for score in (0.8, 0.9))
    metrics = coco_metrics([right, wrong], [GroundTruth(BOX, np.array([0])), NO_GROUND_TRUTH], [(100, 80)] * 2, NAMES)
    assert metrics["mAP"] == pytest.approx(0.5)


@pytest.mark.parametrize("images", [0, 2])
def test_nothing_to_detect_has_no_metrics(images: int) -> None:
    found = Detections(BOX, np.array([0.9]), np.array([0]))
    for detections in (NO_DETECTIONS, found):
        metrics = coco_metrics([detections] * images, [NO_GROUND_TRUTH] * images, [(100, 80)] * images, NAMES)
        assert {key: metrics[key] for key in KEYS} == dict.fromkeys(KEYS)


def test_nothing_detected_scores_zero() -> None:
    metrics = coco_metrics([NO_DETECTIONS], [GroundTruth(BOX, np.array([0]))], [(100, 80)], NAMES)
    assert (metrics["mAP"], metrics["AR"], metrics["per_class"]["person"]["mAP50"]) == (0, 0, 0)
    assert metrics["per_class"]["car"]["mAP"] is None


def test_metrics_are_json_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    metrics = coco_metrics(*random_images(0), NAMES)
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert capfd.readouterr() == ("", "")


def test_results_are_in_pixels_of_the_original_image() -> None:
    found = Detections(BOX, np.array([0.5]), np.array([2]))
    assert coco_results([NO_DETECTIONS, found], [(10, 10), (200, 100)]) == [
        {"image_id": 2, "category_id": 2, "bbox": [50.0, 25.0, 100.0, 50.0], "score": 0.5}
    ]


def test_a_missing_image_is_refused() -> None:
    with pytest.raises(ValueError, match="got 1, 0 and 1"):
        coco_metrics([NO_DETECTIONS], [], [(10, 10)], NAMES)
