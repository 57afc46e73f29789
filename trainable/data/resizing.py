"""A pair as pixels of the size that the model takes, before they are normalised."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers import DetrImageProcessorPil
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.image_utils import get_image_size_for_max_height_width

from trainable.data.difference import PictureError, difference, open_picture
from trainable.data.pairs import Pair


def resized_difference(pair: Pair, processor: DetrImageProcessorPil) -> NDArray[np.uint8]:
    """What changed between the pictures of a pair: uint8 [3, height, width] after the processor's resizing.

    Raises:
        PictureError: as from `open_pair`.
    """
    inputs = processor(images=difference(*open_pair(pair)), do_rescale=False, do_normalize=False, do_pad=False)
    return np.ascontiguousarray(inputs["pixel_values"][0])


def open_pair(pair: Pair) -> tuple[Image.Image, Image.Image]:
    """The before and the after picture, of the size that they had when they were checked.

    Raises:
        PictureError: one of them can no longer be read, or has another size now; the message names the file.
    """
    before, after = open_picture(pair.before), open_picture(pair.after)
    for path, picture in ((pair.before, before), (pair.after, after)):
        if picture.size != pair.size:
            was, now = (f"{width} x {height}" for width, height in (pair.size, picture.size))
            raise PictureError(f"{path}: is {now} pixels now and was {was} when it was checked")
    return before, after


def resized_size(pair: Pair, processor: DetrImageProcessorPil) -> tuple[int, int]:
    """Height and width of a pair's `resized_difference`, without reading a picture.

    By the branches of `DetrImageProcessorPil.resize`.
    """
    width, height = pair.size
    size: Any = processor.size  # a SizeDict, though annotated as the dict it is made from
    if not processor.do_resize:
        return height, width
    if size.shortest_edge and size.longest_edge:
        return get_size_with_aspect_ratio((height, width), size.shortest_edge, size.longest_edge)
    if size.max_height and size.max_width:
        return get_image_size_for_max_height_width((height, width), size.max_height, size.max_width)
    return size.height, size.width
