"""How good a model is on a data set: what `metrics.json` and `sweep.csv` say."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from results.measures.calibration import calibration
from results.measures.disturbance import flagged
from results.measures.errors import count_errors
from results.measures.operating_point import (
    COUNTED_AT,
    PointRule,
    point_by_rule,
    point_in_metrics,
    useful_range,
    why_none,
)
from results.measures.per_image import counts_per_image, flagged_beside_others, pairs_by_loss
from results.measures.sweep import IOU_THRESHOLDS, sweep
from trainable.alignment import OFF
from trainable.coco import coco_metrics
from trainable.compute import CPU
from trainable.data.dataset import Key, MovedObjectDataset, PairCollator, index_of
from trainable.data.difference import ImageError
from trainable.data.pair import Pair
from trainable.data.resizing import ImageProcessor
from trainable.detection import match
from trainable.detector.loading import load_model, load_processor
from trainable.storage.durable_file import write_atomically
from trainable.training.evaluation import Evaluation, evaluate


def evaluate_checkpoint(
    checkpoint: str | Path,
    pairs: Sequence[Pair],
    names: Sequence[str],
    padded: tuple[int, int],
    cpus: int,
    device: torch.device = CPU,
    skip_bad: bool = False,
) -> Evaluation:
    """Loads a model and evaluates it in float32, the losses of each image too.

    Args:
        checkpoint: made by `save_pretrained`, with its image processor.
        pairs: what to evaluate on.
        names: class names of the data set; those of the model, or its class head is drawn anew.
        padded: height and width to which all images are padded; those of training give the figures of training.
        cpus: threads of the forward pass.
        device: to evaluate on.
        skip_bad: evaluate without the pairs that can no longer be read, which `unread` then names; in the losses,
            others stand in for them, by the rule of the trials.

    Raises:
        ImageError: an image can no longer be read; with `skip_bad`, none can.
    """
    torch.set_num_threads(cpus)
    model = load_model(checkpoint, names).to(device)
    dataset = _NotingDataset(pairs, load_processor(checkpoint), stand_ins=skip_bad)
    return evaluate(model, dataset, PairCollator(*padded)).without(dataset.unread)


class _NotingDataset(MovedObjectDataset):
    """Takes note of why others stand in, by index; for a loader without workers of its own."""

    def __init__(self, pairs: Sequence[Pair], processor: ImageProcessor, stand_ins: bool):
        super().__init__(pairs, processor, stand_ins=stand_ins)
        self.unread: dict[int, str] = {}

    def __getitem__(self, key: Key) -> dict[str, Any]:
        index = index_of(key)
        try:
            return self.item(index)
        except ImageError as error:
            if not self.stand_ins:
                raise
            self.unread[index] = str(error)
            return super().__getitem__(index)


def write_evaluation(
    evaluation: Evaluation,
    pairs: Sequence[Pair],
    names: Sequence[str],
    out: Path,
    rule: PointRule,
    skip_bad: bool = False,
    alignment: str = OFF,
) -> dict[str, Any]:
    """Writes `metrics.json` and `sweep.csv` into `out`; returns what `metrics.json` holds.

    Args:
        evaluation: of `pairs`, with the losses of each image; those that it could not read count nowhere else.
        pairs: the images that were to be evaluated.
        names: class names of the data set.
        out: folder that exists.
        rule: how the operating point is chosen.
        skip_bad: go on where an image can no longer be read.
        alignment: by what the model's pairs are registered; `registration.csv` is written then.

    Returns:
        The losses; `coco_metrics`; `recommended`, the operating point with its `interval` and `constraint`; or None
        and `not_recommended`, why; `counted_at`, the score threshold of all counts; `errors`; `calibration`;
        `pairs_by_loss`; `flagged`; `cameras`, where pairs are registered; the numbers of `pairs` and `boxes`; and
        `unread`, the pairs that could not be read, each with `id` and `why`. The modules of these names tell what each
        holds. None stands for what cannot be measured.

    Raises:
        ImageError: an image can no longer be read, without `skip_bad`.
    """
    unread = [{"id": pairs[index].id, "why": why} for index, why in sorted(evaluation.unread.items())]
    pairs = evaluation.read(pairs)
    matches = match(evaluation.detections, evaluation.ground_truth, IOU_THRESHOLDS)
    table = sweep(matches, names)
    reason = why_none(table, rule)
    if reason and rule.score_threshold is None:
        rule = PointRule(score_threshold=COUNTED_AT)
    point, outcome = point_by_rule(matches, table, rule)
    counts = counts_per_image(matches, evaluation.ground_truth, point.iou_threshold, point.score_threshold)
    lowest_score, _ = useful_range(table) or (None, None)
    ids, flags = [pair.id for pair in pairs], flagged(pairs, skip_bad)
    metrics = {
        **evaluation.losses,
        **coco_metrics(evaluation.detections, evaluation.ground_truth, [pair.size for pair in pairs], names),
        "recommended": None if reason else point_in_metrics(point, outcome, counts),
        "not_recommended": reason,
        "counted_at": point.score_threshold,
        "pairs": len(pairs),
        "boxes": sum(len(pair.labels.class_ids) for pair in pairs),
        "unread": unread,
        "errors": count_errors(evaluation.detections, evaluation.ground_truth, matches, point.score_threshold),
        "calibration": calibration(matches, lowest_score),
        "flagged": flagged_beside_others(ids, counts, flags),
        "pairs_by_loss": pairs_by_loss(ids, evaluation.image_losses, counts, flags),
    }
    if alignment != OFF:
        # It takes OpenCV, which takes memory and time to import.
        from results.measures.camera_motion import camera_motions

        motions = camera_motions(pairs, alignment, skip_bad)
        metrics["cameras"] = motions.in_metrics()
        write_atomically(out / "registration.csv", motions.table())
    write_atomically(out / "sweep.csv", table.to_csv(index=False))
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=2))
    return metrics
