"""A pair as pixels of the size that the model takes, before they are normalised."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers import DetrImageProcessorPil

from trainable.alignment import ALIGNMENTS, OFF
from trainable.data.difference import ImageError, difference, open_image
from trainable.data.model_input import SizeRule
from trainable.data.pair import Pair
from trainable.text.shown import shown


def resized_difference(pair: Pair, processor: DetrImageProcessorPil) -> NDArray[np.uint8]:
    """What changed between the images of a pair: uint8 [3, height, width] after the processor's resizing.

    The camera's motion between them is taken out first, as far as the processor's alignment says.

    Raises:
        ImageError: as from `open_pair`.
    """
    return _resized(aligned_difference(*open_pair(pair), alignment_of(processor)), processor)


def resized_pair(pair: Pair, processor: DetrImageProcessorPil) -> NDArray[np.uint8]:
    """The before and the after image of a pair in turn, registered and resized: uint8 [6, height, width].

    Raises:
        ImageError: as from `open_pair`.
    """
    before, after = open_pair(pair)
    return np.concatenate(
        [_resized(image, processor) for image in (aligned_before(before, after, alignment_of(processor)), after)]
    )


def aligned_difference(before: Image.Image, after: Image.Image, alignment: str) -> Image.Image:
    """The `difference` of two RGB images, the before image registered to the after image first unless that is `OFF`."""
    return difference(aligned_before(before, after, alignment), after)


def aligned_before(before: Image.Image, after: Image.Image, alignment: str) -> Image.Image:
    """The before image, registered to the after image unless that is `OFF`."""
    if alignment == OFF:
        return before
    # OpenCV takes memory and time to import: only where it is asked for.
    from trainable.data.registration import aligned, registration

    return aligned(before, after, registration(before, after, alignment))


def alignment_of(processor: DetrImageProcessorPil) -> str:
    """By what a processor registers pairs, one of `ALIGNMENTS`: kept with the model, like the size that it resizes to.

    Raises:
        ValueError: it says something else.
    """
    alignment = getattr(processor, "alignment", OFF)
    if alignment not in ALIGNMENTS:
        raise ValueError(f"its alignment must be one of {', '.join(ALIGNMENTS)}, got {shown(alignment)}")
    return str(alignment)


def with_alignment(processor: DetrImageProcessorPil, alignment: str) -> DetrImageProcessorPil:
    """The processor, from now on with this alignment; `OFF` leaves no trace in its settings."""
    if alignment != OFF:
        processor.alignment = alignment
    elif hasattr(processor, "alignment"):
        del processor.alignment
    return processor


def open_pair(pair: Pair) -> tuple[Image.Image, Image.Image]:
    """The before and the after image, of the size that they had when they were checked.

    Raises:
        ImageError: one of them can no longer be read, or has another size now; the message names the file.
    """
    before, after = open_image(pair.before), open_image(pair.after)
    for path, image in ((pair.before, before), (pair.after, after)):
        if image.size != pair.size:
            was, now = (f"{width} x {height}" for width, height in (pair.size, image.size))
            raise ImageError(f"{path}: is {now} pixels now and was {was} when it was checked")
    return before, after


def _resized(image: Image.Image, processor: DetrImageProcessorPil) -> NDArray[np.uint8]:
    inputs = processor(images=image, do_rescale=False, do_normalize=False, do_pad=False)
    return np.ascontiguousarray(inputs["pixel_values"][0])


def resized_size(pair: Pair, processor: DetrImageProcessorPil) -> tuple[int, int]:
    """Height and width of a pair's `resized_difference`, without reading an image."""
    return size_rule(processor).resized(pair.size)[::-1]


def size_rule(processor: DetrImageProcessorPil) -> SizeRule:
    """The processor's rule.

    Raises:
        ValueError: it has none that it could resize by.
    """
    return SizeRule.of({"do_resize": processor.do_resize, "size": dict(processor.size)})
