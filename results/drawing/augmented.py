"""Training pairs as the model's augmentation changes them, with their boxes, so that a person can judge it."""

from pathlib import Path

import numpy as np
from PIL import Image

from results.drawing.canvas import Mark, Panel, draw_sheet
from results.drawing.overlays import COMPRESSION, LABEL, brightened, file_name
from trainable.data.difference import ImageError
from trainable.data.pairs import PairData
from trainable.data.resizing import ImageProcessor
from trainable.recipe import Recipe
from trainable.training.augmenting import augmented_pairs

SHEETS = 6
"""Pairs that are drawn, evenly spread over the training pairs."""


def write_augmented(pairs: PairData, processor: ImageProcessor, recipe: Recipe, out: Path) -> None:
    """Draws some training pairs as the first epoch of a recipe is given them, into the folder `out`, which is made.

    Args:
        pairs: the data set.
        processor: the model's own.
        recipe: with augmentation.
        out: folder of the files.

    Raises:
        ImageError: an image can no longer be read, unless bad ones are left out of the data.
    """
    out.mkdir(parents=True, exist_ok=True)
    augmented = augmented_pairs(pairs.train, processor, recipe, stage=0)
    for index in sorted({index * len(pairs.train) // SHEETS for index in range(SHEETS)}):
        pair = pairs.train[index]
        try:
            shot = augmented.changed(index, epoch=0)
        except ImageError:
            if pairs.skip_bad:
                continue
            raise
        height, width = shot.after.shape[:2]
        apart = np.abs(shot.after.astype(np.int16) - shot.before.astype(np.int16)).astype(np.uint8)
        panels = [
            Panel("before", Image.fromarray(shot.before)),
            Panel("after", Image.fromarray(shot.after)),
            brightened("difference", Image.fromarray(apart)),
        ]
        marks = [
            Mark(box, LABEL, pairs.names[class_id])
            for box, class_id in zip(shot.boxes / [width, height, width, height], shot.class_ids, strict=True)
        ]
        sheet = draw_sheet(pair.id, "augmented", panels, marks, [(LABEL, "what moved")])
        sheet.save(out / f"{file_name(pair.id)}.png", compress_level=COMPRESSION)
