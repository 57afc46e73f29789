"""What a model finds in pairs without labels, and the files that it is written to."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from results.drawing.overlays import draw_predictions
from results.prediction.detector import Detector
from results.prediction.image_pairs import ImagePair
from results.prediction.prediction_folder import LABELS, OVERLAYS, SUMMARY, file_of
from trainable.alignment import OFF
from trainable.coco import coco_results
from trainable.data.difference import open_image
from trainable.detection import Detections
from trainable.storage.durable_file import write_atomically


@dataclass(frozen=True)
class Prediction:
    """What was found in one pair, at or above the score threshold, best first."""

    pair: ImagePair
    detections: Detections
    """Boxes cut at the image's edge."""


def predict(detector: Detector, pairs: Sequence[ImagePair], score_threshold: float) -> Iterator[Prediction]:
    """Predicts pair after pair.

    Args:
        detector: the model.
        pairs: images of any size that it takes.
        score_threshold: a detection counts at score >= threshold.

    Raises:
        ImageError: an image can no longer be read.
    """
    for pair in pairs:
        found = detector.detect(open_image(pair.before), open_image(pair.after))
        yield Prediction(pair, _kept(found, score_threshold))


def write_prediction(
    prediction: Prediction, names: Sequence[str], score_threshold: float, out: Path, alignment: str = OFF
) -> None:
    """Writes `labels/ID.txt` and `overlays/ID.png` of one pair; folders of the id are made.

    The label file holds YOLO's five columns and no score, so that it can be corrected and trained on. An empty one says
    that nothing moved.
    """
    pair, found = prediction.pair, prediction.detections
    lines = [
        f"{class_id} " + " ".join(f"{share:.6f}" for share in box_cxcywh_normalised)
        for class_id, box_cxcywh_normalised in zip(found.class_ids, _cxcywh(found.boxes_xyxy_normalised), strict=True)
    ]
    label, overlay = file_of(out, LABELS, pair.id), file_of(out, OVERLAYS, pair.id)
    for path in (label, overlay):
        path.parent.mkdir(parents=True, exist_ok=True)
    label.write_text("".join(f"{line}\n" for line in dict.fromkeys(lines)), encoding="utf-8")
    before, after = open_image(pair.before), open_image(pair.after)
    draw_predictions(before, after, pair.id, found, names, score_threshold, alignment).save(overlay)


def write_summary(
    predictions: Sequence[Prediction], names: Sequence[str], model: str, score_threshold: float, out: Path
) -> None:
    """Writes all pairs into `predictions.json`, and in COCO's form into `coco_results.json` and `coco_images.json`.

    `coco_results.json` is what COCO's tools load as results; its image ids count from 1 in the order of the pairs, its
    category ids are class ids, and `coco_images.json` names both.
    """
    summary = {
        "model": model,
        "score_threshold": score_threshold,
        "names": list(names),
        "pairs": [_described(prediction, names) for prediction in predictions],
    }
    sizes = [prediction.pair.size for prediction in predictions]
    images = [
        {"id": index, "file_name": str(prediction.pair.after), "width": size[0], "height": size[1]}
        for index, (prediction, size) in enumerate(zip(predictions, sizes, strict=True), start=1)
    ]
    categories = [{"id": class_id, "name": name} for class_id, name in enumerate(names)]
    contents = {
        SUMMARY: summary,
        "coco_results.json": coco_results([prediction.detections for prediction in predictions], sizes),
        "coco_images.json": {"images": images, "categories": categories},
    }
    for name, content in contents.items():
        write_atomically(out / name, json.dumps(content, indent=2))


def _kept(found: Detections, score_threshold: float) -> Detections:
    boxes_xyxy_normalised = found.boxes_xyxy_normalised.clip(0, 1)
    has_area = (boxes_xyxy_normalised[:, 2:] - boxes_xyxy_normalised[:, :2] > 1e-6).all(axis=1)
    order = np.argsort(-found.scores, kind="stable")
    order = order[(has_area & (found.scores >= score_threshold))[order]]
    return Detections(boxes_xyxy_normalised[order], found.scores[order], found.class_ids[order])


def _described(prediction: Prediction, names: Sequence[str]) -> dict[str, Any]:
    pair, found = prediction.pair, prediction.detections
    width, height = pair.size
    boxes_xyxy_pixels = found.boxes_xyxy_normalised.astype(np.float64) * [width, height, width, height]
    boxes = [
        {
            "class": names[class_id],
            "class_id": class_id,
            "score": score,
            "xyxy_pixels": box_xyxy_pixels,
            "cxcywh_normalised": box_cxcywh_normalised,
        }
        for class_id, score, box_xyxy_pixels, box_cxcywh_normalised in zip(
            found.class_ids.tolist(),
            found.scores.tolist(),
            boxes_xyxy_pixels.tolist(),
            _cxcywh(found.boxes_xyxy_normalised).tolist(),
            strict=True,
        )
    ]
    files = {"before": str(pair.before), "after": str(pair.after)}
    return {"id": pair.id, **files, "width": width, "height": height, "boxes": boxes}


def _cxcywh(boxes_xyxy: np.ndarray) -> np.ndarray:
    """[n, 4] corners -> [n, 4] centre, width and height, in the same unit."""
    low, high = boxes_xyxy[:, :2].astype(np.float64), boxes_xyxy[:, 2:].astype(np.float64)
    return np.hstack([(low + high) / 2, high - low])
