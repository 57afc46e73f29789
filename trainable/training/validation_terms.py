"""What each validation pair adds to a trial's loss at its best epoch, kept beside its weights.

By it trials can be compared on other draws of the pairs. It is not needed to go on, so nothing waits for the disk.
"""

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def terms_path(trial: Path) -> Path:
    """Where the trial in this folder keeps them."""
    return trial / "validation_terms.npz"


def losses_of(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """The losses of sets of images.

    Args:
        terms: [..., 4], of each set the sums of its images' terms, or those of single images: weighted loss of the
            classes, class weight, weighted loss of the boxes, and their number.

    Returns:
        [...].
    """
    of_classes, class_weight, boxes_loss, boxes = np.moveaxis(terms, -1, 0)
    weight = np.where(class_weight > 0, class_weight, 1)
    losses: NDArray[np.float64] = of_classes / weight + boxes_loss / np.maximum(boxes, 1)
    return losses


def write_terms(trial: Path, epoch: int, terms: NDArray[np.float64]) -> Path:
    """Writes them in one step; returns the file.

    Args:
        trial: the trial's folder.
        epoch: that they are of.
        terms: [pairs, 4], see `trainable.detector.loss.image_terms`.

    Raises:
        OSError: it cannot be written.
    """
    path = terms_path(trial)
    data = io.BytesIO()
    np.savez(data, epoch=epoch, terms=terms)
    scratch = path.with_name(path.name + ".tmp")
    scratch.write_bytes(data.getvalue())
    return scratch.replace(path)


def read_terms(trial: Path, epoch: int) -> NDArray[np.float64] | None:
    """Those of an epoch; None where there are none, they are damaged, or of another one."""
    try:
        with np.load(terms_path(trial), allow_pickle=False) as kept:
            terms: NDArray[np.float64] = kept["terms"]
            if int(kept["epoch"]) != epoch or terms.ndim != 2 or terms.shape[1] != 4 or not np.isfinite(terms).all():
                return None
            return terms
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None
