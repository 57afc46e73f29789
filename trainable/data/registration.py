"""How the camera moved between the two images of a pair, and the before image as if it had not.

Both images are freed of their light. SIFT's features are matched, and MAGSAC finds the motions that many of them share;
the one under which most of the image agrees is the camera's, the others are those of things that moved. ECC refines it
where the images agree. Of the ladder of models the simplest is taken that explains the motion, and none where none does.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

VERSION = 1
"""Goes up whenever an image is registered in another way."""

NONE, AUTO = "none", "auto"
LADDER = ("translation", "affine", "homography")
"""The models of motion, the simplest first."""

LEAST_SHIFT = 0.5
"""Pixels; where a camera moved by less, `auto` leaves the pair as it is."""
MOST_SHIFT = 0.2
"""Of the image's diagonal: no camera that shook moves a corner by more."""
MOST_STRETCH = 1.3
"""No camera that shook makes anything longer or shorter by more than this factor, in any direction."""

_LONGEST = 640
"""Pixels of the longer edge at which a motion is looked for, at most."""
_SHORTEST = 32
"""Pixels of the shorter edge there, at least: features of less are few."""
_FEATURES, _RATIO = 2000, 0.8
"""Features of an image at most; and how much nearer than the second best the best match must be (Lowe's test)."""
_REACH = 2.0
"""Pixels within which features share a motion."""
_SHARED, _MOTIONS = 6, 4
"""Features that share a motion at least, and how many motions are looked for."""
_NEIGHBOURHOOD, _NOISE = 8.0, 6.0
"""Of a pixel, from which its light and contrast are taken: its size in pixels; and grey levels that are no contrast."""
_CUT = 1.0
"""Differences above it count as much: those are of what moved by itself."""
_LESS = 0.98
"""Part of the residual of a simpler model, or of none, to which another one must bring it to explain anything."""
_CHANCE = 0.9
"""Part of the residual of images that have nothing to do with each other, above which these have nothing to."""
_STILL, _MOST_STILL = 1.0, 0.2
"""Pixels by which a feature that stands still moves; and the share of such features beside those that move with the
camera: where there are more, a thing moved that fills most of the image."""

Matrix = NDArray[np.float64]
"""[3, 3]; takes a pixel (x, y, 1) of the after image to where it is in the before image."""
_Grey = NDArray[np.float32]
_Points = NDArray[np.float64]

# Trials share the cores, a pair each; and OpenCV's threads do not survive the fork of a loader's workers.
cv2.setNumThreads(1)


@dataclass(frozen=True)
class Registration:
    """How the camera moved between the images of a pair."""

    model: str = NONE
    """The one of `LADDER` that explains it, or `NONE` where it stood still or there is a `fault`."""
    rows: tuple[tuple[float, ...], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    """The rows of its `Matrix`."""
    shift: float = 0.0
    """Pixels by which the image's corners moved, their mean."""
    inliers: float = 0.0
    """Share of the matched features that moved as the camera did, 0 to 1."""
    residual_before: float = 0.0
    """How much the images differ as they are, outside of what moved by itself and without their light, 0 to 1."""
    residual_after: float = 0.0
    """How much they differ once registered."""
    fault: str = ""
    """Why the pair cannot be registered, so that it is used as it is."""

    @property
    def matrix(self) -> Matrix:
        """The motion."""
        return np.array(self.rows)


def registration(before: Image.Image, after: Image.Image, alignment: str) -> Registration:
    """Finds how the camera moved, always the same for the same images.

    Args:
        before: RGB image.
        after: RGB image of its size.
        alignment: the last model of `LADDER` that may be taken, or `AUTO`: any of them, where it moved by more than
            `LEAST_SHIFT`.
    """
    ladder = LADDER if alignment == AUTO else LADDER[: LADDER.index(alignment) + 1]
    scale = min(1.0, _LONGEST / max(before.size))
    width, height = (round(side * scale) for side in before.size)
    if min(width, height) < _SHORTEST:
        return Registration(fault="too small")
    grey_before, grey_after = (_grey(image, (width, height)) for image in (before, after))
    found = _registration(grey_before, grey_after, ladder)
    to_small = np.diag([width / before.width, height / before.height, 1.0])
    # Pixels are counted at their centres, where images are scaled from their corners.
    to_small[:2, 2] = (to_small.diagonal()[:2] - 1) / 2
    motion = np.linalg.inv(to_small) @ found.matrix @ to_small
    shift = _shift(motion, before.size)
    if found.model == NONE or (alignment == AUTO and shift <= LEAST_SHIFT):
        still = Registration(inliers=found.inliers, residual_before=found.residual_before, fault=found.fault)
        return _replaced(still, residual_after=found.residual_before)
    rows = tuple(tuple(row) for row in (motion / motion[2, 2]).tolist())
    return _replaced(found, rows=rows, shift=shift)
