"""Training pairs changed at random: as if the camera hung otherwise, the light were another, and other things moved.

One motion is drawn for both images and the boxes, so that what stood still stands still; light, blur, noise, shadows
and compression are drawn for either image, as two shots differ. All of it on images of the model's size, with OpenCV.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

cv2.setNumThreads(1)  # As in `registration`.

VISIBLE = 0.3
"""Least share of a box that is still in the image; a box of which less is left is dropped."""
ROTATION, SCALE, SHIFT, PERSPECTIVE = 8.0, 0.25, 0.12, 0.08
"""Of the whole scene at full strength: degrees, shares of the size, and how much further away one edge seems."""
MISREGISTRATION = 1.5
"""Pixels by which the before image is off at full strength."""
PASTED = 2
"""Things that are pasted at full strength, at most."""

Pixels = NDArray[np.uint8]
"""An image, [height, width, 3]."""
Boxes = NDArray[np.float64]
"""[n, 4], left, top, right and bottom in pixels."""
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Shot:
    """A pair of the model's size, and what moved in it."""

    before: Pixels
    after: Pixels
    boxes: Boxes
    class_ids: NDArray[np.int64]


@dataclass(frozen=True)
class Changes:
    """How pairs are changed.

    Attributes:
        probability: of each change, 0 to 1.
        strength: how far changes go, 0 to 1.
        exchanges: whether before and after may change places, which makes no difference to a difference.
    """

    probability: float
    strength: float
    exchanges: bool = False

    def __call__(self, shot: Shot, rng: np.random.Generator, other: Callable[[], Shot]) -> Shot:
        """The pair, changed; always the same for the same state of `rng`.

        Args:
            shot: as it is.
            rng: all draws come from it.
            other: another pair, from which things are pasted; asked for at most once.
        """
        wanted = [bool(rng.random() < self.probability) for _ in CHANGES]
        for change, is_wanted in zip(CHANGES, wanted, strict=True):
            if is_wanted:
                shot = change(shot, rng, self.strength, other)
        if self.exchanges and rng.random() < self.probability:
            return replace(shot, before=shot.after, after=shot.before)
        return shot


def _paste(shot: Shot, rng: np.random.Generator, strength: float, other: Callable[[], Shot]) -> Shot:
    """Things that moved in another pair, in one of the two images, where nothing else has moved."""
    source, (height, width) = other(), shot.after.shape[:2]
    images = {"before": shot.before.copy(), "after": shot.after.copy()}
    boxes, class_ids = list(shot.boxes), list(shot.class_ids)
    for _ in range(1 + int(rng.integers(max(1, round(PASTED * strength))))):
        if not len(source.boxes):
            break
        index, where = int(rng.integers(len(source.boxes))), ("before", "after")[int(rng.integers(2))]
        left, top, right, bottom = np.rint(source.boxes[index]).astype(int).tolist()
        left, top = max(left, 0), max(top, 0)
        # The side on which the thing is: the box of a thing that left shows the ground on the other one.
        side = max((source.before, source.after), key=lambda image: _outline(image, left, top, right, bottom))
        thing = side[top:bottom, left:right]
        h, w = thing.shape[:2]
        free_x, free_y = width - w, height - h
        if min(h, w) < 3 or min(free_x, free_y) < 0:
            continue
        x, y = int(rng.integers(free_x + 1)), int(rng.integers(free_y + 1))
        box = np.array([x, y, x + w, y + h], dtype=np.float64)
        if any(_overlap(box, each) for each in boxes):
            continue
        seam = cv2.GaussianBlur(np.pad(np.ones((h - 2, w - 2), np.float32), 1), (0, 0), 0.7)[..., None]
        ground = images[where][y : y + h, x : x + w]
        images[where][y : y + h, x : x + w] = np.rint(seam * thing + (1 - seam) * ground).astype(np.uint8)
        boxes.append(box)
        class_ids.append(source.class_ids[index])
    return Shot(images["before"], images["after"], np.array(boxes).reshape(-1, 4), np.array(class_ids, dtype=np.int64))


def _outline(image: Pixels, left: int, top: int, right: int, bottom: int) -> float:
    """How much the inside of a box differs from what is around it."""
    inside = image[top:bottom, left:right].reshape(-1, 3)
    around = image[max(top - 3, 0) : bottom + 3, max(left - 3, 0) : right + 3].reshape(-1, 3)
    if not len(inside):
        return 0.0
    return float(np.abs(inside.mean(0, dtype=np.float64) - around.mean(0, dtype=np.float64)).sum() + inside.std())


def _overlap(box: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    return bool((np.maximum(box[:2], other[:2]) < np.minimum(box[2:], other[2:])).all())


def _flip(shot: Shot, rng: np.random.Generator, strength: float, other: Callable[[], Shot]) -> Shot:
    """Left and right exchanged."""
    width = shot.after.shape[1]
    boxes = shot.boxes.copy()
    boxes[:, [0, 2]] = width - shot.boxes[:, [2, 0]]
    return replace(
        shot,
        before=np.ascontiguousarray(shot.before[:, ::-1]),
        after=np.ascontiguousarray(shot.after[:, ::-1]),
        boxes=boxes,
    )


def _move(shot: Shot, rng: np.random.Generator, strength: float, other: Callable[[], Shot]) -> Shot:
    """The scene turned, nearer or further, shifted and seen aslant; boxes go along."""
    height, width = shot.after.shape[:2]
    turn, nearer, aside, down, slant_x, slant_y = strength * (2 * rng.random(6) - 1)
    motion = np.eye(3)
    motion[:2] = cv2.getRotationMatrix2D((width / 2, height / 2), ROTATION * turn, 1 + SCALE * nearer)
    motion[:2, 2] += SHIFT * aside * width, SHIFT * down * height
    slant = np.eye(3)
    slant[2, :2] = PERSPECTIVE * slant_x / width, PERSPECTIVE * slant_y / height
    motion = motion @ slant
    boxes, kept = _moved_boxes(shot.boxes, motion, (width, height))
    return Shot(_warped(shot.before, motion), _warped(shot.after, motion), boxes[kept], shot.class_ids[kept])


def _moved_boxes(boxes: Boxes, motion: Matrix, size: tuple[int, int]) -> tuple[Boxes, NDArray[np.bool_]]:
    """The boxes around the moved ones, cut at the image's edge, and which of them are to be seen well enough."""
    if not len(boxes):
        return boxes, np.ones(0, dtype=bool)
    corners = boxes[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    moved = cv2.perspectiveTransform(corners, motion)
    low, high = moved.min(1), moved.max(1)
    cut = np.clip(np.hstack([low, high]), 0, [*size, *size])
    area, whole = (cut[:, 2:] - cut[:, :2]).prod(1), (high - low).prod(1)
    return cut, (area >= VISIBLE * whole) & ((cut[:, 2:] - cut[:, :2]) > 1).all(1)


def _warped(image: Pixels, motion: Matrix) -> Pixels:
    """What lies outside of the image is black in both, so that it makes no difference."""
    height, width = image.shape[:2]
    # Boxes count from the corners of pixels, OpenCV from their centres.
    shift = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    at_centres = np.linalg.inv(shift) @ motion @ shift
    return np.asarray(cv2.warpPerspective(image, at_centres, (width, height), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def _misregister(shot: Shot, rng: np.random.Generator, strength: float, other: Callable[[], Shot]) -> Shot:
    """The before image off by a pixel or so, as a camera leaves it that shook."""
    height, width = shot.before.shape[:2]
    motion = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    motion[:, 2] = MISREGISTRATION * strength * (2 * rng.random(2) - 1)
    moved = cv2.warpAffine(shot.before, motion, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return replace(shot, before=np.asarray(moved, dtype=np.uint8))


def _light(shot: Shot, rng: np.random.Generator, strength: float, other: Callable[[], Shot]) -> Shot:
    """Brightness, contrast, gamma and a cast of colour: much of it in both images, a little more in one of them."""
    common = strength * (2 * rng.random(6) - 1)
    own = 0.25 * strength * (2 * rng.random(6) - 1)
    return replace(shot, before=_under(shot.before, common), after=_under(shot.after, common + own))


def _under(image: Pixels, draws: NDArray[np.float64]) -> Pixels:
    """An image under a light: contrast, brightness and gamma, and a factor for each channel."""
    contrast, brightness, gamma = 1 + 0.3 * draws[0], 0.15 * draws[1], 2.0 ** (0.6 * draws[2])
    values = np.linspace(0, 1, 256)[:, None] ** gamma
    values = ((values - 0.5) * contrast + 0.5 + brightness) * (1 + 0.1 * draws[3:])
    table = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)  # [256, 3]
    return np.stack([cv2.LUT(image[..., channel], table[:, channel]) for channel in range(3)], axis=-1)


def _shadow(shot: Shot, rng: np.random.Generator, strength: float, other: Callable[[], Shot]) -> Shot:
    """A soft shadow over part of one image, which has not moved and is not labelled."""
    height, width = shot.after.shape[:2]
    corners = (rng.random((4, 2)) * [width, height]).astype(np.int32)
    shape = np.zeros((height, width), np.float32)
    cv2.fillConvexPoly(shape, cv2.convexHull(corners), 1.0)
    mask = np.asarray(cv2.GaussianBlur(shape, (0, 0), 1 + 0.02 * width))
    factor = 1 - 0.35 * strength * rng.random() * mask[..., None]
    return _of_one(shot, rng, lambda image: np.rint(image * factor).astype(np.uint8))


def _blur(shot: Shot, rng: np.random.Generator, strength: float, other: Callable[[], Shot]) -> Shot:
    """One image a little out of focus."""
    sigma = 0.3 + strength * rng.random()
    return _of_one(shot, rng, lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), dtype=np.uint8))


def _noise(shot: Shot, rng: np.random.Generator, strength: float, other: Callable[[], Shot]) -> Shot:
    """A sensor's noise, in either image another."""
    deviation = np.float32(8 * strength * rng.random())

    def noisy(image: Pixels) -> Pixels:
        noise = rng.standard_normal(image.shape, dtype=np.float32) * deviation
        changed: Pixels = np.rint(np.clip(image + noise, 0, 255)).astype(np.uint8)
        return changed

    return replace(shot, before=noisy(shot.before), after=noisy(shot.after))


def _compression(shot: Shot, rng: np.random.Generator, strength: float, other: Callable[[], Shot]) -> Shot:
    """What JPEG makes of either image."""

    def compressed(image: Pixels) -> Pixels:
        quality = round(95 - 45 * strength * rng.random())
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)

    return replace(shot, before=compressed(shot.before), after=compressed(shot.after))


def _of_one(shot: Shot, rng: np.random.Generator, change: Callable[[Pixels], Pixels]) -> Shot:
    """The pair with one of its images changed."""
    if rng.integers(2):
        return replace(shot, before=change(shot.before))
    return replace(shot, after=change(shot.after))


CHANGES: Sequence[Callable[[Shot, np.random.Generator, float, Callable[[], Shot]], Shot]] = (
    *(_paste, _flip, _misregister, _light, _shadow, _blur, _noise, _compression, _move),
)
"""All that may be done to a pair, in this order: nothing else is done to the edge of a scene that was moved."""
