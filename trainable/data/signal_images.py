"""The images of a pair that a model's input is made of: registered, and subtracted from each other."""

from PIL import Image

from trainable.alignment import OFF
from trainable.data.difference import ImageError, difference, open_image
from trainable.data.pair import Pair
from trainable.model_signal import DIFFERENCE, FEATURES


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


def signal_images(before: Image.Image, after: Image.Image, alignment: str, signal: str) -> list[Image.Image]:
    """The images that a model is given of the two RGB images of a pair, one or two, of their size.

    Args:
        before, after: of one size.
        alignment: by what the camera's motion is taken out first, one of `trainable.alignment.ALIGNMENTS`.
        signal: one of `trainable.model_signal.SIGNALS`.
    """
    before = aligned_before(before, after, alignment)
    if signal == FEATURES:
        return [before, after]
    changed = difference(before, after)
    return [changed] if signal == DIFFERENCE else [changed, after]


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
