"""A pair as pixels of the size that the model takes, before they are normalised."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import DetrImageProcessorPil
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.image_utils import get_image_size_for_max_height_width

from trainable.data.difference import difference, open_picture
from trainable.data.pairs import Pair


def resized_difference(pair: Pair, processor: DetrImageProcessorPil) -> NDArray[np.uint8]:
    """What changed between the pictures of a pair: uint8 [3, height, width] after the processor's resizing.

    Raises:
        PictureError: a picture can no longer be read; the message names the file.
        ValueError: the pictures of the pair now differ in size; the message names both files.
    """
    before, after = open_picture(pair.before), open_picture(pair.after)
    if before.size != after.size:
        raise ValueError(f"{pair.before} is {before.size} (width, height), {pair.after} is {after.size}")
    inputs = processor(images=difference(before, after), do_rescale=False, do_normalize=False, do_pad=False)
    return np.ascontiguousarray(inputs["pixel_values"][0])


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
