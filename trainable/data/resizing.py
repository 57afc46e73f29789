"""A pair as pixels of the size that the model takes, before they are normalised."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from transformers import DetrImageProcessorPil

from trainable.data.difference import ImageError, difference, open_image
from trainable.data.model_input import SizeRule
from trainable.data.pair import Pair


@dataclass(frozen=True)
class PairResizer:
    """Makes of a pair the pixels from which the model's input is made."""

    processor: DetrImageProcessorPil
    """Says how images are resized."""
    both: bool = False
    """Whether both images are wanted, or what changed between them alone."""

    def pixels(self, pair: Pair) -> NDArray[np.uint8]:
        """What changed, [3, height, width], or the before and the after image in turn, [6, height, width].

        Raises:
            ImageError: as from `open_pair`.
        """
        before, after = open_pair(pair)
        if not self.both:
            return self._resized(difference(before, after))
        return np.concatenate([self._resized(before), self._resized(after)])

    def shape(self, pair: Pair) -> tuple[int, int, int]:
        """That of a pair's `pixels`, without reading an image."""
        return (6 if self.both else 3, *resized_size(pair, self.processor))

    def _resized(self, image: Image.Image) -> NDArray[np.uint8]:
        inputs = self.processor(images=image, do_rescale=False, do_normalize=False, do_pad=False)
        return np.ascontiguousarray(inputs["pixel_values"][0])


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


def resized_size(pair: Pair, processor: DetrImageProcessorPil) -> tuple[int, int]:
    """Height and width of a pair's resized images, without reading one."""
    return size_rule(processor).resized(pair.size)[::-1]


def size_rule(processor: DetrImageProcessorPil) -> SizeRule:
    """The processor's rule.

    Raises:
        ValueError: it has none that it could resize by.
    """
    return SizeRule.of({"do_resize": processor.do_resize, "size": dict(processor.size)})
