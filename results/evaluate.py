"""How good a model is on a data set: its loss, COCO's metrics, and the sweep over IoU and score thresholds."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from results.coco import coco_metrics
from results.sweep import IOU_THRESHOLDS, operating_point, sweep
from trainable.data.dataset import MovedObjectDataset, PairCollator
from trainable.data.pairs import Pair
from trainable.detection import match
from trainable.evaluation import Evaluation, evaluate
from trainable.model import load_model, load_processor
from trainable.trial_folder import write_atomically


def evaluate_checkpoint(
    checkpoint: Path, pairs: Sequence[Pair], names: Sequence[str], padded: tuple[int, int], cpus: int
) -> Evaluation:
    """Loads a model and evaluates it in float32, on a GPU where there is one.

    Args:
        checkpoint: folder made by `save_pretrained`, with its image processor.
        pairs: what to evaluate on.
        names: class names of the data set.
        padded: height and width to which all pictures are padded; those of training give the figures of training.
        cpus: threads of the forward pass.
    """
    torch.set_num_threads(cpus)
    model = load_model(checkpoint, names).to("cuda" if torch.cuda.is_available() else "cpu")
    dataset = MovedObjectDataset(pairs, load_processor(checkpoint))
    return evaluate(model, dataset, PairCollator(*padded))


def write_evaluation(evaluation: Evaluation, pairs: Sequence[Pair], names: Sequence[str], out: Path) -> dict[str, Any]:
    """Writes `metrics.json` and `sweep.csv` into `out`; returns what `metrics.json` holds.

    Args:
        evaluation: of `pairs`.
        pairs: the pictures that were evaluated.
        names: class names of the data set.
        out: folder that exists.
    """
    table = sweep(match(evaluation.detections, evaluation.truths, IOU_THRESHOLDS), names)
    sizes = [pair.size for pair in pairs]
    metrics = {
        **evaluation.losses,
        **coco_metrics(evaluation.detections, evaluation.truths, sizes, names),
        "recommended": asdict(operating_point(table)),
        "pairs": len(pairs),
        "boxes": sum(len(pair.labels.class_ids) for pair in pairs),
    }
    _write_csv(table, out / "sweep.csv")
    write_atomically(out / "metrics.json", json.dumps(metrics, indent=2))
    return metrics


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    write_atomically(path, table.to_csv(index=False))
