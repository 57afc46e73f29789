"""COCO's average precision and recall, by `faster-coco-eval`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from trainable.detection import Detections, GroundTruth

AREAS = ("small", "medium", "large")
"""Labels of up to 32 x 32 pixels of the original image, up to 96 x 96, and above."""


def coco_metrics(
    detections: Sequence[Detections],
    ground_truth: Sequence[GroundTruth],
    sizes: Sequence[tuple[int, int]],
    names: Sequence[str],
) -> dict[str, Any]:
    """Average precision and recall of all images, ready for JSON.

    Args:
        detections: one entry an image.
        ground_truth: the same images in the same order.
        sizes: width and height of each original image, in pixels.
        names: of the classes, by class id.

    Returns:
        `mAP` (mean over IoU 0.50 to 0.95), `mAP50`, `mAP75`, `mAP_small`, `mAP_medium`, `mAP_large` and `AR` (at most
        100 detections a class and image), each the mean over the classes that have labels, and `per_class`: the
        same of each class by its name. None stands for what has no labels to be measured on.

    Raises:
        ValueError: detections, ground truth and sizes are not equally many.
    """
    if not len(detections) == len(ground_truth) == len(sizes):
        raise ValueError(f"one entry an image is needed: got {len(detections)}, {len(ground_truth)} and {len(sizes)}")
    labels = coco_labels(ground_truth, sizes, names)
    evaluation = COCOeval_faster(labels, labels.loadRes(coco_results(detections, sizes)), iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    precision = evaluation.eval["precision"][..., -1]  # [IoU thresholds, recalls, classes, all and the AREAS]
    recall = evaluation.eval["recall"][:, :, 0, -1]  # [IoU thresholds, classes]
    per_class = {
        name: _means(precision[:, :, index : index + 1], recall[:, index : index + 1])
        for index, name in enumerate(names)
    }
    return {**_means(precision, recall), "per_class": per_class}


def coco_results(detections: Sequence[Detections], sizes: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Detections in COCO's results format: boxes as left, top, width, height in pixels of the original image.

    `image_id` is the image's index from 1, `category_id` the class id.
    """
    return [
        {"image_id": image, "category_id": class_id, "bbox": box_xywh_pixels, "score": score}
        for image, (found, size) in enumerate(zip(detections, sizes, strict=True), start=1)
        for class_id, box_xywh_pixels, score in zip(
            found.class_ids.tolist(), _xywh_pixels(found, size), found.scores.tolist(), strict=True
        )
    ]


def coco_labels(ground_truth: Sequence[GroundTruth], sizes: Sequence[tuple[int, int]], names: Sequence[str]) -> COCO:
    """Labels as the data set that COCO's tools take; ids as in `coco_results`, arguments as in `coco_metrics`."""
    images = [{"id": index, "width": width, "height": height} for index, (width, height) in enumerate(sizes, start=1)]
    annotations = [
        {"image_id": image, "category_id": class_id, "bbox": box_xywh_pixels, "iscrowd": 0}
        for image, (labelled, size) in enumerate(zip(ground_truth, sizes, strict=True), start=1)
        for class_id, box_xywh_pixels in zip(labelled.class_ids.tolist(), _xywh_pixels(labelled, size), strict=True)
    ]
    for index, annotation in enumerate(annotations, start=1):  # id 0 would mean "not matched"
        annotation |= {"id": index, "area": annotation["bbox"][2] * annotation["bbox"][3]}
    categories = [{"id": index, "name": name} for index, name in enumerate(names)]
    return COCO({"images": images, "annotations": annotations, "categories": categories})


def _xywh_pixels(boxes: Detections | GroundTruth, size: tuple[int, int]) -> list[list[float]]:
    xyxy_pixels = boxes.boxes_xyxy_normalised.astype(np.float64) * [*size, *size]
    return list(np.hstack([xyxy_pixels[:, :2], xyxy_pixels[:, 2:] - xyxy_pixels[:, :2]]).tolist())


def _means(precision: np.ndarray, recall: np.ndarray) -> dict[str, float | None]:
    """Means over IoU thresholds, recalls and classes.

    Args:
        precision: [IoU thresholds, recalls, classes, all and the AREAS].
        recall: [IoU thresholds, classes].
    """
    by_area = {f"mAP_{area}": _mean(precision[..., 1 + index]) for index, area in enumerate(AREAS)}
    means = {"mAP": precision[..., 0], "mAP50": precision[0, ..., 0], "mAP75": precision[5, ..., 0], "AR": recall}
    return {name: _mean(values) for name, values in means.items()} | by_area


def _mean(values: np.ndarray) -> float | None:
    measured = values[values > -1]  # COCO writes -1 where a class has no labels
    return float(measured.mean()) if measured.size else None
