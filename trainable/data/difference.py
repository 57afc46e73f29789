"""What the model sees: the absolute difference of a before and an after picture."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is read. Left out is what Pillow hands to other programs (EPS), and files whose size shows only on decoding."""


class PictureError(ValueError):
    """A picture cannot be read; the message names the file and the cause."""


def open_picture(path: Path) -> Image.Image:
    """The picture as 8-bit RGB, upright as its EXIF orientation says.

    Grey, palette, CMYK and 16-bit pictures are converted; 16 bits are scaled to 8, not cut off. Transparent places turn
    black, so that colours nobody can see make no difference.

    Raises:
        PictureError: the file is missing, truncated, no picture, or of a depth that has no fixed range (32 bit).
    """
    with _readable(path) as picture:
        ImageOps.exif_transpose(picture, in_place=True)
        return _as_rgb(picture)


def stored_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as stored, before EXIF orientation, without decoding the picture.

    Raises:
        PictureError: the file is missing or no picture.
    """
    with _readable(path) as picture:
        return picture.size


def difference(before: Image.Image, after: Image.Image) -> Image.Image:
    """The absolute difference of two RGB pictures, channel by channel; 0 is "the same".

    Raises:
        ValueError: the pictures differ in size; scaling one would make differences where nothing moved.
    """
    if before.size != after.size:
        raise ValueError(f"before and after must be of one size, got {before.size} and {after.size} (width, height)")
    return ImageChops.difference(before, after)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=_FORMATS) as picture:
            yield picture
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything, SyntaxError included
        raise PictureError(f"{path}: cannot be read as a picture: {error}") from error


def _as_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        return _from_16_bit(picture).convert("RGB")
    if picture.mode == "F":
        raise ValueError("it holds 32-bit numbers, which have no fixed white; save it with 8 or 16 bits")
    if picture.has_transparency_data:
        seen = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "black"), seen).convert("RGB")
    return picture.convert("RGB")


def _from_16_bit(picture: Image.Image) -> Image.Image:
    """Grey of 0 to 65535 as grey of 0 to 255, rounded; Pillow's own conversion would clip at 255."""
    values = np.asarray(picture).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its values reach from {values.min()} to {values.max()}; save it with 8 or 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
