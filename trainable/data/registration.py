"""How the camera moved between the two images of a pair, and the before image as if it had not.

Both images are freed of their light. SIFT's features are matched, and MAGSAC finds the motions that many of them share;
the one under which most of the image agrees is the camera's, the others are those of things that moved. ECC refines it
where the images agree. The simplest model that explains the motion is taken, and none where none does.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainable.alignment import AUTO, LADDER

VERSION = 1
"""Goes up whenever an image is registered in another way."""

NONE = "none"
"""The model of a pair that is used as it is."""

LEAST_SHIFT = 0.5
"""Pixels; where a camera moved by less, `auto` leaves the pair as it is."""
MOST_SHIFT = 0.2
"""Of the image's diagonal: no camera that shook moves a corner by more."""
MOST_STRETCH = 1.3
"""No camera that shook makes anything longer or shorter by more than this factor, in any direction."""

_LONGEST = 640
"""Pixels of the longer edge at which a motion is looked for, at most."""
_SHORTEST = 32
"""Pixels of the shorter edge there, at least: of fewer there are hardly any features."""
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
_STILL, _MOST_STILL = 1.0, 0.15
"""Pixels by which a feature that stands still moves; and the share of such features beside those that move with the
camera: where there are more, a thing moved that fills most of the image."""

_PLAIN = 0.1
"""Deviation of a grey image freed of its light, at least: of noise alone there is less."""

Matrix = NDArray[np.float64]
"""[3, 3]; takes a pixel (x, y, 1) of the after image to where it is in the before image."""
_Grey = NDArray[np.floating[Any]]
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


_MOST_KNOWN = 10_000
_known: dict[tuple[bytes, str], Registration] = {}
"""What this process has found: a model's evaluation asks of the same pairs for losses, figures and drawings."""


def made_with() -> tuple[int, str]:
    """What registered images depend on beside the images."""
    return VERSION, str(cv2.__version__)


def registration(before: Image.Image, after: Image.Image, alignment: str) -> Registration:
    """Finds how the camera moved, always the same for the same images.

    Args:
        before: RGB image.
        after: RGB image of its size.
        alignment: the last model of `LADDER` that may be taken, or `AUTO`: any of them, where it moved by more than
            `LEAST_SHIFT`.
    """
    key = hashlib.sha256(before.tobytes() + after.tobytes()).digest(), alignment
    if key not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = _found(before, after, alignment)
    return _known[key]


def _found(before: Image.Image, after: Image.Image, alignment: str) -> Registration:
    ladder = LADDER if alignment == AUTO else LADDER[: LADDER.index(alignment) + 1]
    scale = min(1.0, _LONGEST / max(before.size))
    width, height = (round(side * scale) for side in before.size)
    if min(width, height) < _SHORTEST:
        return Registration(fault="the images are too small")
    grey_before, grey_after = (_grey(image, (width, height)) for image in (before, after))
    found = _registration(grey_before, grey_after, ladder)
    to_small = np.diag([width / before.width, height / before.height, 1.0])
    # Pixels are counted at their centres, where images are scaled from their corners.
    to_small[:2, 2] = (to_small.diagonal()[:2] - 1) / 2
    motion = np.linalg.inv(to_small) @ found.matrix @ to_small
    shift = _shift(motion, before.size)
    if found.model == NONE or (alignment == AUTO and shift <= LEAST_SHIFT):
        still = Registration(inliers=found.inliers, residual_before=found.residual_before, fault=found.fault)
        return replace(still, residual_after=found.residual_before)
    rows = tuple(tuple(row) for row in (motion / motion[2, 2]).tolist())
    return replace(found, rows=rows, shift=shift)


def aligned(before: Image.Image, after: Image.Image, found: Registration) -> Image.Image:
    """The before image as the camera of the after image would have seen it; what it did not see is the after image's.

    Args:
        before: RGB image.
        after: RGB image of its size.
        found: their registration; without a `model`, `before` itself is given back.
    """
    if found.model == NONE:
        return before
    seen = _warped(np.asarray(before), found.matrix, cv2.INTER_CUBIC)
    inside = _inside(before.size, found.matrix)[..., None]
    return Image.fromarray(np.where(inside, seen, np.asarray(after)))


def _registration(before: _Grey, after: _Grey, ladder: Sequence[str]) -> Registration:
    """That of two normalised grey images of one size, `rows` and all, in their own pixels."""
    size = (before.shape[1], before.shape[0])
    still = _residual(before, after, np.eye(3))
    if min(before.std(), after.std()) < _PLAIN:
        return Registration(residual_before=still, fault="an image is too plain")
    points = _matches(before, after)
    if points is None:
        return Registration(residual_before=still, fault="an image is too plain")
    from_after, in_before = points
    best = Registration(residual_before=still, residual_after=still)
    best_inliers = _agreeing(from_after, in_before, np.eye(3))
    refused = ""
    for shared in _motions(from_after, in_before):
        for model in ladder:
            motion = _fitted(model, from_after[shared], in_before[shared])
            if motion is None:
                continue
            if fault := _absurd(motion, size):
                refused = fault
                continue
            motion = _refined(before, after, motion, model)
            if _absurd(motion, size):
                continue
            # Both on the pixels that both images show.
            inside = _inside(size, motion) & _inside(size, best.matrix)
            now, then = (_residual(before, after, each, inside) for each in (motion, best.matrix))
            if now < _LESS * then:
                rows = tuple(tuple(row) for row in motion.tolist())
                best_inliers = _agreeing(from_after, in_before, motion)
                best = replace(best, model=model, rows=rows, residual_after=now)
    best = replace(
        best, inliers=float(best_inliers.mean()) if len(best_inliers) else 0.0, shift=_shift(best.matrix, size)
    )
    if best.model == NONE:
        unrelated = _residual(before, np.ascontiguousarray(after[::-1, ::-1]), np.eye(3))
        if still > _CHANCE * unrelated and best.inliers < _MOST_STILL:
            return replace(best, fault="the images show different places")
        return replace(best, fault=refused if refused and best.inliers < _MOST_STILL else "")
    moves = np.linalg.norm(_projected(from_after, best.matrix) - from_after, axis=1) > _STILL + _REACH
    stands = np.linalg.norm(in_before - from_after, axis=1) < _STILL
    if (moves & stands).sum() > _MOST_STILL * ((moves & stands).sum() + (moves & best_inliers).sum()):
        kept = Registration(inliers=best.inliers, residual_before=still, residual_after=still)
        return replace(kept, fault="what moved fills most of the image")
    return best


def _grey(image: Image.Image, size: tuple[int, int]) -> _Grey:
    """An image's brightness freed of its light, [height, width]: by how many local deviations it differs around it."""
    grey: _Grey = np.asarray(image.convert("L"), dtype=np.float32)
    if size != image.size:
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA))
    around = cv2.GaussianBlur(grey, (0, 0), _NEIGHBOURHOOD)
    variance = cv2.GaussianBlur((grey - around) ** 2, (0, 0), _NEIGHBOURHOOD)
    normalised: _Grey = (grey - around) / np.sqrt(variance + _NOISE**2)
    return normalised


def _matches(before: _Grey, after: _Grey) -> tuple[_Points, _Points] | None:
    """Places of the same features, in the after and in the before image, [n, 2] each; None where an image has few."""
    sift = cv2.SIFT.create(nfeatures=_FEATURES)
    found = [sift.detectAndCompute(_as_bytes(grey), None) for grey in (after, before)]
    if any(described is None or len(described) < 2 * _SHARED for _, described in found):
        return None
    (places, described), (others, others_described) = found
    nearest = cv2.BFMatcher(cv2.NORM_L2).knnMatch(described, others_described, k=2)
    good = [first for first, second in nearest if first.distance < _RATIO * second.distance]
    # A feature has a direction too, and with two directions it is there twice.
    pairs = {(places[match.queryIdx].pt, others[match.trainIdx].pt) for match in good}
    points = np.array(sorted(pairs), dtype=np.float64).reshape(-1, 2, 2)
    return points[:, 0], points[:, 1]


def _as_bytes(grey: _Grey) -> NDArray[np.uint8]:
    return np.clip(128 + 48 * grey, 0, 255).astype(np.uint8)


def _motions(from_after: _Points, in_before: _Points) -> Iterator[NDArray[np.bool_]]:
    """Which features share a motion, motion by motion, those of the most features first."""
    left = np.ones(len(from_after), dtype=bool)
    for _ in range(_MOTIONS):
        if left.sum() < _SHARED:
            return
        _, mask = cv2.findHomography(from_after[left], in_before[left], cv2.USAC_MAGSAC, _REACH, maxIters=2000)
        if mask is None or mask.sum() < _SHARED:
            return
        shared = left.copy()
        shared[left] = mask.ravel().astype(bool)
        yield shared
        left &= ~shared


def _fitted(model: str, from_after: _Points, in_before: _Points) -> Matrix | None:
    """The motion of a model that takes these points to those, as well as one can."""
    motion = np.eye(3)
    if model == "translation":
        motion[:2, 2] = np.median(in_before - from_after, axis=0)
        return motion
    if model == "affine":
        found, _ = cv2.estimateAffine2D(from_after, in_before, method=cv2.USAC_MAGSAC, ransacReprojThreshold=_REACH)
        if found is None:
            return None
        motion[:2] = found
        return motion
    found, _ = cv2.findHomography(from_after, in_before, cv2.USAC_MAGSAC, _REACH)
    return None if found is None else np.asarray(found, dtype=np.float64)


def _refined(before: _Grey, after: _Grey, motion: Matrix, model: str) -> Matrix:
    """The motion by all pixels on which the images agree; as it was where that makes nothing better."""
    kind = {
        "translation": cv2.MOTION_TRANSLATION,
        "affine": cv2.MOTION_AFFINE,
        "homography": cv2.MOTION_HOMOGRAPHY,
    }[model]
    size = (before.shape[1], before.shape[0])
    inside = _inside(size, motion)
    apart = np.abs(_warped(before, motion, cv2.INTER_LINEAR) - after)
    agree = (cv2.blur(np.minimum(apart, 2 * _CUT), (5, 5)) < _CUT) & inside
    # It asks for a mask of the image that is warped.
    mask = _warped(agree.astype(np.uint8), np.asarray(np.linalg.inv(motion), dtype=np.float64), cv2.INTER_NEAREST)
    start = motion.astype(np.float32) if model == "homography" else motion[:2].astype(np.float32)
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 50, 1e-5)
    try:
        _, found = cv2.findTransformECC(after, before, start, kind, until, mask, 3)
    except cv2.error:  # It does not converge.
        return motion
    refined = np.eye(3)
    refined[: len(found)] = found
    if not np.isfinite(refined).all() or abs(refined[2, 2]) < 1e-6:
        return motion
    refined /= refined[2, 2]
    both = inside & _inside(size, refined)
    return refined if _residual(before, after, refined, both) < _residual(before, after, motion, both) else motion


def _residual(before: _Grey, after: _Grey, motion: Matrix, inside: NDArray[np.bool_] | None = None) -> float:
    """How much the images differ once registered, 0 to 1: the mean difference of pixels, cut where a thing moved."""
    if inside is None:
        inside = _inside((before.shape[1], before.shape[0]), motion)
    if not inside.any():
        return 1.0
    apart = np.abs(_warped(before, motion, cv2.INTER_LINEAR) - after)[inside]
    return float(np.minimum(apart, _CUT).mean() / _CUT)


def _warped(pixels: NDArray[Any], motion: Matrix, how: int) -> NDArray[Any]:
    height, width = pixels.shape[:2]
    flags = how | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(pixels, motion, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _inside(size: tuple[int, int], motion: Matrix) -> NDArray[np.bool_]:
    """Which pixels of the after image the before image shows too, [height, width]; those at its edge do not count."""
    width, height = size
    if np.array_equal(motion, np.eye(3)):
        return np.ones((height, width), dtype=bool)
    rows, columns = np.indices((height, width), dtype=np.float64)
    places = _projected(np.stack([columns.ravel(), rows.ravel()], axis=1), motion)
    x, y = places.T.reshape(2, height, width)
    return (x >= 1) & (x <= width - 2) & (y >= 1) & (y <= height - 2)


def _projected(points: _Points, motion: Matrix) -> _Points:
    return cv2.perspectiveTransform(points[None], motion)[0] if len(points) else points


def _agreeing(from_after: _Points, in_before: _Points, motion: Matrix) -> NDArray[np.bool_]:
    """Which features move as the camera does."""
    agreeing: NDArray[np.bool_] = np.linalg.norm(_projected(from_after, motion) - in_before, axis=1) < _REACH
    return agreeing


def _corners(size: tuple[int, int]) -> _Points:
    width, height = size[0] - 1.0, size[1] - 1.0
    return np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]])


def _shift(motion: Matrix, size: tuple[int, int]) -> float:
    """Pixels by which the corners of an image of this size move, their mean."""
    corners = _corners(size)
    return float(np.linalg.norm(_projected(corners, motion) - corners, axis=1).mean())


def _absurd(motion: Matrix, size: tuple[int, int]) -> str:
    """Why no camera that shook can have moved so; nothing where it can."""
    corners = _corners(size)
    if not np.isfinite(motion).all() or (motion[2] @ np.vstack([corners.T, np.ones(4)]) <= 0).any():
        return "the motion found turns the image inside out"
    moved = _projected(corners, motion)
    sides, before = (np.roll(each, -1, axis=0) - each for each in (moved, corners))
    if (sides[:, 0] * np.roll(sides[:, 1], -1) - sides[:, 1] * np.roll(sides[:, 0], -1) <= 0).any():
        return "the motion found flips or folds the image"
    longer = np.linalg.norm(sides, axis=1) / np.linalg.norm(before, axis=1)
    middle = motion[:2, :2] - np.outer(_projected(corners.mean(0)[None], motion)[0], motion[2, :2])
    stretches = np.linalg.svd(middle / (motion[2] @ [*corners.mean(0), 1.0]), compute_uv=False)
    if max(longer.max(), 1 / longer.min(), stretches[0], 1 / stretches[-1]) > MOST_STRETCH:
        return f"the motion found stretches the image more than {MOST_STRETCH:g} times"
    if np.linalg.norm(moved - corners, axis=1).max() > MOST_SHIFT * math.hypot(*size):
        return f"the motion found moves a corner by more than {MOST_SHIFT:.0%} of the diagonal"
    return ""
