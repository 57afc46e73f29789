"""TensorBoard's view of the best model: its precision/recall curves, and the images of what it saw and missed."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from results.measures.operating_point import IOU_THRESHOLD
from results.measures.sweep import SCORE_THRESHOLDS

QUALITY = 90
"""JPEG's."""


def write_best_events(folder: Path, best: Path, epoch: int) -> None:
    """Writes `folder` anew from `sweep.csv` and `overlays/` of the best model.

    Args:
        folder: of one TensorBoard run.
        best: the run folder's `best/`.
        epoch: the best one, which becomes the step.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as writer:
        # Class names are texts, also those such as 1 and NA.
        sweep = pd.read_csv(best / "sweep.csv", dtype={"class": str}, keep_default_na=False)
        for name, rows in sweep[sweep["iou_threshold"] == IOU_THRESHOLD].groupby("class", sort=False):
            writer.add_pr_curve_raw(
                f"precision_recall/{name}",
                true_positive_counts=rows["tp"].to_numpy(),
                false_positive_counts=rows["fp"].to_numpy(),
                # What is rightly not detected cannot be counted.
                true_negative_counts=np.zeros(len(rows)),
                false_negative_counts=rows["fn"].to_numpy(),
                precision=rows["precision"].to_numpy(),
                recall=rows["recall"].to_numpy(),
                global_step=epoch,
                num_thresholds=len(SCORE_THRESHOLDS),
            )
        for path in sorted((best / "overlays").glob("*.png")):
            writer.file_writer.add_summary(_image(f"overlays/{path.stem}", path), epoch)  # type: ignore[union-attr]


def _image(tag: str, path: Path) -> Summary:
    """A small copy: TensorBoard adds up checksums in Python, a second for the PNG files of a dozen sheets."""
    buffer = io.BytesIO()
    with Image.open(path) as sheet:
        sheet.save(buffer, "JPEG", quality=QUALITY)
        width, height = sheet.size
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=buffer.getvalue())
    return Summary(value=[Summary.Value(tag=tag, image=image)])
