"""Pairs that differ everywhere, because the camera moved or the light changed, and not only where things moved."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import ceil

import numpy as np

from trainable.data.difference import ImageError, difference
from trainable.data.pair import Pair
from trainable.data.signal_images import open_pair

CHANGED = 16
"""A pixel has changed where its difference, the mean over the channels, is above this, of 255."""

EVERYWHERE = 0.2
"""Share of changed pixels above which a pair is flagged."""

RULE = f"more than {EVERYWHERE:.0%} of the pixels outside all labelled boxes differ by more than {CHANGED} of 255"


def flagged(pairs: Sequence[Pair], skip_bad: bool = False) -> list[bool]:
    """Whether more than 20 % of a pair's pixels outside all its labelled boxes differ by more than 16 of 255.

    A share, not a mean, so that a small thing that nobody labelled does not flag a pair, however bright. Of pairs of
    a fixed street camera and of made-up scenes with noise, at most 5 % of the pixels differ so; shifted by two pixels,
    about 20 %, by eight, 30 % or more; a quarter brighter, 80 %. A pair that is all labelled is never flagged.

    Args:
        pairs: checked pairs.
        skip_bad: do not flag a pair that can no longer be read.

    Raises:
        ImageError: an image can no longer be read, without `skip_bad`.
    """
    # Threads, since decoding is most of the work and runs outside Python's lock.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda pair: _is_flagged(pair, skip_bad), pairs))


def _is_flagged(pair: Pair, skip_bad: bool) -> bool:
    try:
        before, after = open_pair(pair)
    except ImageError:
        if skip_bad:
            return False
        raise
    pixels = np.asarray(difference(before, after))  # [height, width, 3]
    changed = pixels.sum(axis=-1, dtype=np.uint16) > CHANGED * pixels.shape[-1]
    outside = ~_labelled(pair)
    return bool((changed & outside).sum() > EVERYWHERE * outside.sum())


def _labelled(pair: Pair) -> np.ndarray:
    """[height, width], bool: the pixels that a labelled box touches."""
    width, height = pair.size
    mask = np.zeros((height, width), dtype=bool)
    for x, y, w, h in pair.labels.boxes_cxcywh_normalised:
        left, top = max(0, int((x - w / 2) * width)), max(0, int((y - h / 2) * height))
        mask[top : ceil((y + h / 2) * height), left : ceil((x + w / 2) * width)] = True
    return mask
