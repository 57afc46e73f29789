"""A pair as pixels of the size that the model takes, before they are normalised."""

import numpy as np
from numpy.typing import NDArray
from transformers import DetrImageProcessorPil

from trainable.data.difference import difference, open_picture
from trainable.data.model_input import SizeRule
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
    """Height and width of a pair's `resized_difference`, without reading a picture."""
    return size_rule(processor).resized(pair.size)[::-1]


def size_rule(processor: DetrImageProcessorPil) -> SizeRule:
    """The processor's rule.

    Raises:
        ValueError: it has none that it could resize by.
    """
    return SizeRule.of({"do_resize": processor.do_resize, "size": dict(processor.size)})
