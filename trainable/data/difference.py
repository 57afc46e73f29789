"""What the model sees: the absolute difference of a before and an after image."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, ImageOps

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is read. Left out is what Pillow hands to other programs (EPS), and files whose size shows only on decoding."""


class ImageError(ValueError):
    """An image cannot be read; the message names the file and the cause."""


def open_image(path: Path) -> Image.Image:
    """The image as 8-bit RGB, upright as its EXIF orientation says.

    Grey, palette, CMYK and 16-bit images are converted; 16 bits are scaled to 8, not cut off. Transparent places turn
    black, so that colours nobody can see make no difference.

    Raises:
        ImageError: the file is missing, truncated, no image, or of a depth that has no fixed range (32 bit).
    """
    with _readable(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return _as_rgb(image)


def stored_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels as stored, before EXIF orientation, without decoding the image.

    Raises:
        ImageError: the file is missing or no image.
    """
    with _readable(path) as image:
        return image.size


def difference(before: Image.Image, after: Image.Image) -> Image.Image:
    """The absolute difference of two RGB images, channel by channel; 0 is "the same".

    Raises:
        ValueError: the images differ in size; scaling one would make differences where nothing moved.
    """
    if before.size != after.size:
        raise ValueError(f"before and after must be of one size, got {before.size} and {after.size} (width, height)")
    return ImageChops.difference(before, after)


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except Exception as error:  # a broken file makes Pillow's decoders raise nearly anything, SyntaxError included
        raise ImageError(f"{path}: cannot be read as an image: {error}") from error


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image).convert("RGB")
    if image.mode == "F":
        raise ValueError("it holds 32-bit numbers, which have no fixed white; save it with 8 or 16 bits")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "black"), seen).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Grey of 0 to 65535 as grey of 0 to 255, rounded; Pillow's own conversion would clip at 255."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its values reach from {values.min()} to {values.max()}; save it with 8 or 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
