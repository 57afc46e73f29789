"""Variants once: training pairs that were changed at random, each with its boxes, kept as the images are."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainable.storage.disk_cache import DiskCache, open_disk_cache


@dataclass(frozen=True)
class ChangedPair:
    """What the model is given of a pair that was changed, and what moved in it."""

    pixels: NDArray[np.uint8]
    """[channels, height, width]."""
    boxes_cxcywh_normalised: NDArray[np.float32]
    """[n, 4]."""
    class_ids: NDArray[np.int64]
    """[n]."""


def open_variant_cache(
    make: Callable[[str], ChangedPair],
    shapes: dict[str, tuple[int, int, int]],
    most_boxes: int,
    key: str,
    cache_bytes: int,
    cache: Path | None = None,
) -> "VariantCache | None":
    """The store of these variants on this node, filled if it is not there yet; see `open_disk_cache`.

    Args:
        make: makes one by its name; must be picklable.
        shapes: of their pixels, by their names.
        most_boxes: that any of them has.
        key: what they depend on, as a file name.
        cache_bytes: most bytes of all stores of the cache together; 0 turns the store off.
        cache: folder to keep it in; the user's cache folder by default.

    Raises:
        Exception: what `make` raises, beside `OSError`.
    """
    boxes = np.dtype(np.int64).itemsize * (1 + most_boxes) + np.dtype(np.float32).itemsize * 4 * most_boxes
    sizes = {name: boxes + int(np.prod(shape)) for name, shape in shapes.items()}
    pack = functools.partial(_packed, make, most_boxes)
    records = open_disk_cache("variants", key, sizes, pack, cache_bytes, cache)
    return VariantCache(records, shapes, most_boxes) if records else None


class VariantCache:
    """Changed pairs by their names; made by `open_variant_cache`."""

    def __init__(self, records: DiskCache, shapes: dict[str, tuple[int, int, int]], most_boxes: int):
        self._records = records
        self._shapes = shapes
        self._most_boxes = most_boxes

    def __getitem__(self, name: str) -> ChangedPair:
        """One of them; made anew where the file is damaged.

        Raises:
            KeyError: there is none of this name.
        """
        record, most = self._records[name], self._most_boxes
        count, *class_ids = np.frombuffer(record, np.int64, 1 + most).tolist()
        at = np.dtype(np.int64).itemsize * (1 + most)
        boxes = np.frombuffer(record, np.float32, 4 * most, at).reshape(-1, 4)
        pixels = np.frombuffer(record, np.uint8, offset=at + boxes.nbytes).reshape(self._shapes[name])
        return ChangedPair(pixels, boxes[:count].copy(), np.array(class_ids[:count], dtype=np.int64))


def _packed(make: Callable[[str], ChangedPair], most_boxes: int, name: str) -> bytes:
    """The count of boxes, their classes and themselves, as many as any may have, and the pixels."""
    changed = make(name)
    count = len(changed.class_ids)
    class_ids, boxes = np.zeros(1 + most_boxes, np.int64), np.zeros((most_boxes, 4), np.float32)
    class_ids[0], class_ids[1 : 1 + count], boxes[:count] = count, changed.class_ids, changed.boxes_cxcywh_normalised
    return class_ids.tobytes() + boxes.tobytes() + changed.pixels.tobytes()
