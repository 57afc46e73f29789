"""Images once: what all trials of a node would decode, subtract and resize again."""

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import PIL
import transformers
from numpy.typing import NDArray

from trainable.alignment import OFF
from trainable.data.difference import ImageError
from trainable.data.pair import Pair
from trainable.data.pairs import images_digest
from trainable.data.resizing import ImageProcessor, alignment_of, resized_pair, resized_signal, resized_size, signal_of
from trainable.model_signal import CHANNELS
from trainable.storage.disk_cache import DiskCache, open_disk_cache

VERSION = 1
"""Goes up whenever `resized_signal` gives other pixels, or they are laid out in another way."""


def open_image_cache(
    pairs: Sequence[Pair],
    processor: ImageProcessor,
    cache_bytes: int,
    cache: Path | None = None,
    both: bool = False,
) -> "ImageCache | None":
    """The store of what the model is given of these pairs on this node, filled if it is not there yet.

    Any number of processes may call this at once. A store goes by what its pixels depend on, see `pixels_key`.

    Args:
        pairs: all pairs that will be asked for.
        processor: resizes them.
        cache_bytes: most bytes of all stores of the cache together, see `open_disk_cache`; 0 turns the store off.
        cache: folder to keep it in; the user's cache folder by default, which follows `XDG_CACHE_HOME`.
        both: keep the two images of each pair instead, see `resized_pair`.

    Returns:
        The store; None where it is off or has no room, or the folder cannot be used, which is then logged.

    Raises:
        ImageError: an image cannot be read, or is not the one that was checked; the message names the file.
    """
    by_digest = {pair.images_digest: pair for pair in pairs}
    channels, name = (6, "pairs") if both else (CHANNELS[signal_of(processor)], "differences")
    shapes = {digest: (channels, *resized_size(pair, processor)) for digest, pair in by_digest.items()}
    records = open_disk_cache(
        name,
        pixels_key(pairs, processor),
        {digest: int(np.prod(shape)) for digest, shape in shapes.items()},
        functools.partial(_pixels, by_digest, processor, both),
        cache_bytes,
        cache,
    )
    return ImageCache(records, shapes) if records else None


class ImageCache:
    """The resized images of a data set, by the contents of their images; made by `open_image_cache`.

    Attributes:
        path: the file.
        bytes: its size.
    """

    def __init__(self, records: DiskCache, shapes: Mapping[str, tuple[int, int, int]]):
        self._records = records
        self._shapes = shapes
        self.path = records.path
        self.bytes = records.bytes

    def __getitem__(self, pair: Pair) -> NDArray[np.uint8]:
        """The pair's `resized_signal` or `resized_pair`, read-only; made anew where the file is damaged.

        Raises:
            KeyError: the pair is not among those that the store was opened for.
            ImageError: it is damaged, and the images cannot be read any more.
        """
        pixels = self._records[pair.images_digest]
        return np.frombuffer(pixels, np.uint8).reshape(self._shapes[pair.images_digest])


def pixels_key(pairs: Sequence[Pair], processor: ImageProcessor) -> str:
    """SHA-256, in hex, over all that the pairs' resized images depend on, in any order.

    The contents of the images, the processor's settings, the versions of this code, Pillow, transformers and OpenCV.
    """
    digests = sorted({pair.images_digest for pair in pairs})
    depends_on = [VERSION, PIL.__version__, transformers.__version__, processor.to_dict(), digests]
    if alignment_of(processor) != OFF:
        from trainable.data.registration import made_with

        depends_on.append(made_with())
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True, default=str).encode()).hexdigest()


def refuse_changed(pair: Pair) -> None:
    """Holds what is kept under the name of a pair's images to be theirs: later searches rely on it.

    Raises:
        ImageError: they are not those that were checked any more.
    """
    if images_digest(pair.before, pair.after) != pair.images_digest:
        raise ImageError(f"{pair.before} or {pair.after} has changed since it was checked; start the search anew")


def _pixels(by_digest: Mapping[str, Pair], processor: ImageProcessor, both: bool, digest: str) -> bytes:
    image = (resized_pair if both else resized_signal)(by_digest[digest], processor)
    refuse_changed(by_digest[digest])
    return image.tobytes()
