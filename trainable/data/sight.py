"""What a model would see of one pair: the difference at the model's size, judged before anything is trained on it."""

import hashlib
import math
from dataclasses import dataclass

from PIL import Image

from trainable.data.annotations import Labels
from trainable.data.difference import difference
from trainable.data.model_input import ModelInput, Size

DARK = 16
"""Up to this value of 255 a difference is (almost) black. A camera's 12 bits in a 16-bit file reach just so far; what
people label differs from its background by far more."""
LEAST_BOX = 2
"""Pixels; a box with a shorter side vanishes at the model's size."""
LEAST_SIDE = 8
"""Pixels; an image with a shorter side at the model's size vanishes in its backbone, which makes one cell of 32."""


@dataclass(frozen=True)
class Sight:
    """What was seen of one pair."""

    size: Size
    """Of both images."""
    resized: Size
    """Of the difference as the model takes it, or as it is where none is known; a side of 0 cannot be made."""
    brightest: int = 0
    """Highest value of any channel of the difference at the model's size, 0 to 255."""
    tiny_boxes: int = 0
    """Labelled boxes with a side under `LEAST_BOX` at the model's size."""
    dark_boxes: int = 0
    """The others of those in which the difference is (almost) black."""
    has_blank: bool = False
    """Whether one of the images has one colour throughout."""
    digest: str = ""
    """SHA-256, in hex, of the difference's pixels as taken, or of the image's where nothing differs at all. The same
    for swapped sides and for another lossless file format."""

    @property
    def is_dark(self) -> bool:
        """Whether the whole difference is (almost) black."""
        return self.brightest <= DARK


def see(before: Image.Image, after: Image.Image, labels: Labels, model: ModelInput | None) -> Sight:
    """Makes the difference of two RGB images of one size at the model's size, and judges it."""
    resized = model.size.resized(before.size) if model else before.size
    if not all(resized):
        return Sight(before.size, resized)
    whole = difference(before, after)
    small = whole if resized == whole.size else whole.resize(resized, Image.Resampling.BILINEAR)
    boxes = [_pixels(box, resized) for box in labels.boxes_cxcywh_normalised]
    seen = [box for box in boxes if not _is_tiny(box)]
    return Sight(
        before.size,
        resized,
        brightest=_brightest(small),
        tiny_boxes=len(boxes) - len(seen),
        dark_boxes=sum(_brightest(small.crop(_covering(box))) <= DARK for box in seen),
        has_blank=_is_blank(before) or _is_blank(after),
        digest=_digest(whole, before),
    )


def _pixels(box_cxcywh_normalised: tuple[float, float, float, float], size: Size) -> tuple[float, float, float, float]:
    """Left, top, right and bottom in pixels of an image of that size."""
    (cx, cy, w, h), (width, height) = box_cxcywh_normalised, size
    return (cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height


def _is_tiny(box_xyxy_pixels: tuple[float, float, float, float]) -> bool:
    left, top, right, bottom = box_xyxy_pixels
    return min(right - left, bottom - top) < LEAST_BOX - 1e-3  # Label files round.


def _covering(box_xyxy_pixels: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    left, top, right, bottom = box_xyxy_pixels
    return math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)


def _brightest(image: Image.Image) -> int:
    return max(high for _, high in _extremes(image))


def _is_blank(image: Image.Image) -> bool:
    return all(low == high for low, high in _extremes(image))


def _extremes(image: Image.Image) -> tuple[tuple[int, int], ...]:
    """Lowest and highest value of each channel of an RGB image."""
    return image.getextrema()  # type: ignore[return-value]  # A single pair is of images with one channel.


def _digest(whole: Image.Image, before: Image.Image) -> str:
    # All scenes that stood still without noise have one difference, and yet they are different images.
    told_apart_by = whole if whole.getbbox() else before
    return hashlib.sha256(f"{told_apart_by is before} {whole.size}".encode() + told_apart_by.tobytes()).hexdigest()
