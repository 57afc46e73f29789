"""A pair as pixels of the size that the model takes, before they are normalised."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers.image_processing_backends import PilBackend

from trainable.alignment import ALIGNMENTS, OFF
from trainable.data.model_input import SizeRule
from trainable.data.pair import Pair
from trainable.data.signal_images import aligned_before, open_pair, signal_images
from trainable.model_signal import DIFFERENCE, SIGNALS
from trainable.text.shown import shown

ImageProcessor: TypeAlias = PilBackend
"""What every image processor of transformers is that works with Pillow."""


def resized_signal(pair: Pair, processor: ImageProcessor) -> NDArray[np.uint8]:
    """What the model is given of a pair: uint8 [channels, height, width] after the processor's resizing.

    Raises:
        ImageError: as from `open_pair`.
    """
    images = signal_images(*open_pair(pair), alignment_of(processor), signal_of(processor))
    return np.concatenate([_resized(image, processor) for image in images])


def resized_pair(pair: Pair, processor: ImageProcessor) -> NDArray[np.uint8]:
    """The before and the after image of a pair in turn, registered and resized: uint8 [6, height, width].

    Raises:
        ImageError: as from `open_pair`.
    """
    before, after = open_pair(pair)
    registered = aligned_before(before, after, alignment_of(processor))
    return np.concatenate([_resized(image, processor) for image in (registered, after)])


def alignment_of(processor: ImageProcessor) -> str:
    """By what a processor registers pairs, one of `ALIGNMENTS`: kept with the model, like the size that it resizes to.

    Raises:
        ValueError: it says something else.
    """
    return _one_of(processor, "alignment", ALIGNMENTS, OFF)


def signal_of(processor: ImageProcessor) -> str:
    """What a processor makes of a pair for the model, one of `SIGNALS`; kept with the model likewise.

    Raises:
        ValueError: it says something else.
    """
    return _one_of(processor, "signal", SIGNALS, DIFFERENCE)


def with_input(processor: ImageProcessor, alignment: str, signal: str) -> ImageProcessor:
    """The processor, from now on with these; `OFF` and `DIFFERENCE` leave no trace in its settings."""
    for name, value, default in (("alignment", alignment, OFF), ("signal", signal, DIFFERENCE)):
        if value != default:
            setattr(processor, name, value)
        elif hasattr(processor, name):
            delattr(processor, name)
    return processor


def _one_of(processor: ImageProcessor, name: str, allowed: Sequence[str], default: str) -> str:
    value = getattr(processor, name, default)
    if value not in allowed:
        raise ValueError(f"its {name} must be one of {', '.join(allowed)}, got {shown(value)}")
    return str(value)


def _resized(image: Image.Image, processor: ImageProcessor) -> NDArray[np.uint8]:
    inputs = processor(images=image, do_rescale=False, do_normalize=False, do_pad=False)
    return np.ascontiguousarray(inputs["pixel_values"][0])


def resized_size(pair: Pair, processor: ImageProcessor) -> tuple[int, int]:
    """Height and width of a pair's `resized_signal`, without reading an image."""
    return size_rule(processor).resized(pair.size)[::-1]


def size_rule(processor: ImageProcessor) -> SizeRule:
    """The processor's rule.

    Raises:
        ValueError: it has none that it could resize by.
    """
    return SizeRule.of({"do_resize": processor.do_resize, "size": dict(processor.size)})
