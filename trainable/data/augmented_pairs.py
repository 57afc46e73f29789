"""The training pairs of a stage, changed at random: anew in every epoch, or each to a few fixed variants in turn."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainable.data.augmentation import PASTED, Changes, Shot
from trainable.data.dataset import Key, MovedObjectDataset
from trainable.data.image_cache import ImageCache, pixels_key
from trainable.data.pair import Pair
from trainable.data.resizing import ImageProcessor, resized_pair, resized_size, signal_of
from trainable.data.variant_cache import ChangedPair, VariantCache, open_variant_cache
from trainable.model_signal import DIFFERENCE, FEATURES

VERSION = 1
"""Goes up whenever the same draws change a pair in another way, or are laid out in another way."""


class AugmentedPairs(MovedObjectDataset):
    """As `MovedObjectDataset`; but what is asked for with its epoch, as training does, is changed at random.

    The changes are drawn from (seed, epoch, index) alone: they are the same whoever loads the item, and when.

    Args:
        pairs, processor, stand_ins: as of `MovedObjectDataset`.
        changes: how pairs are changed.
        seed: of the draws.
        both: has both resized images of each pair; None makes them when they are asked for.
        variants: after so many epochs the first one's draws come again; None draws anew in every epoch.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        processor: ImageProcessor,
        changes: Changes,
        seed: int,
        both: ImageCache | None = None,
        stand_ins: bool = False,
        variants: int | None = None,
    ):
        super().__init__(pairs, processor, None, stand_ins)
        self._changes = changes
        self._seed = seed
        self._both = both
        self._variants = variants
        self._kept: VariantCache | None = None

    def keep(self, cache_bytes: int, cache: Path | None = None) -> bool:
        """Has all variants kept, as far as there is room; says whether they are. What is asked for stays the same.

        Args:
            cache_bytes: most bytes of all stores of the cache together, see `open_disk_cache`; 0 keeps nothing.
            cache: folder to keep them in; the user's cache folder by default.

        Raises:
            ImageError: an image can no longer be read.
        """
        channels, sizes = self.channels, [resized_size(pair, self.processor) for pair in self.pairs]
        shapes = {name: (channels, *sizes[index]) for name, (_, index) in self.keys().items()}
        most = max(len(pair.labels.class_ids) for pair in self.pairs) + PASTED
        self._kept = open_variant_cache(self._variant, shapes, most, self.draws, cache_bytes, cache)
        return self._kept is not None

    @property
    def is_kept(self) -> bool:
        return self._kept is not None

    @property
    def draws(self) -> str:
        """SHA-256, in hex, over all that the changed pairs depend on."""
        pairs = [(pair.images_digest, dataclasses.astuple(pair.labels)) for pair in self.pairs]
        how = dataclasses.astuple(self._changes), self._seed, self._variants
        depends_on = [VERSION, cv2.__version__, np.__version__, pixels_key(self.pairs, self.processor), how, pairs]
        return hashlib.sha256(json.dumps(depends_on, default=str).encode()).hexdigest()

    def keys(self) -> dict[str, tuple[int, int]]:
        """Epoch and index of all that is ever asked for, by name; of what is drawn anew, of nothing."""
        variants = range(self._variants or 0)
        return {self.name((variant, index)): (variant, index) for variant in variants for index in range(len(self))}

    def name(self, key: Key) -> str:
        """The name of the variant that `key`, with its epoch, asks for."""
        assert isinstance(key, tuple), "only what is asked for with its epoch is changed"
        epoch, index = key
        return f"{index}-{self._drawn_for(epoch)}"

    def item(self, key: Key) -> dict[str, Any]:
        """The item of `key`; changed, where it is asked for with an epoch."""
        if not isinstance(key, tuple):
            return super().item(key)
        changed = self._given(key)
        return {"pixel_values": self.normalised(changed.pixels), "labels": self._labels(changed, key[1])}

    def labels(self, key: Key) -> dict[str, Tensor]:
        """The labels of the item of `key`."""
        return self._labels(self._given(key), key[1]) if isinstance(key, tuple) else super().labels(key)

    def changed(self, index: int, epoch: int) -> Shot:
        """Pair `index` as an epoch is given it, of the model's size."""
        rng = np.random.default_rng([self._seed, self._drawn_for(epoch), index])
        other = int(rng.integers(len(self.pairs)))
        return self._changes(self._shot(index), rng, lambda: self._shot(other))

    def _drawn_for(self, epoch: int) -> int:
        """The epoch whose draws an epoch takes."""
        return epoch % self._variants if self._variants else epoch

    def _given(self, key: tuple[int, int]) -> ChangedPair:
        return self._kept[self.name(key)] if self._kept else self._made(*key)

    def _made(self, epoch: int, index: int) -> ChangedPair:
        shot = self.changed(index, epoch)
        height, width = shot.after.shape[:2]
        low, high = np.hsplit(shot.boxes / [width, height, width, height], 2)
        boxes = np.hstack([(low + high) / 2, high - low]).astype(np.float32)
        return ChangedPair(_signal(shot, signal_of(self.processor)), boxes, shot.class_ids)

    def _variant(self, name: str) -> ChangedPair:
        index, epoch = map(int, name.split("-"))
        return self._made(epoch, index)

    def _labels(self, changed: ChangedPair, index: int) -> dict[str, Tensor]:
        boxes, class_ids = torch.from_numpy(changed.boxes_cxcywh_normalised), torch.from_numpy(changed.class_ids)
        return super().labels(index) | {"boxes": boxes, "class_labels": class_ids}

    def _shot(self, index: int) -> Shot:
        pair = self.pairs[index]
        images = self._both[pair] if self._both else resized_pair(pair, self.processor)
        before, after = (np.ascontiguousarray(image.transpose(1, 2, 0)) for image in (images[:3], images[3:]))
        height, width = after.shape[:2]
        centre, size = np.hsplit(np.asarray(pair.labels.boxes_cxcywh_normalised, dtype=np.float64).reshape(-1, 4), 2)
        boxes = np.hstack([centre - size / 2, centre + size / 2]) * [width, height, width, height]
        return Shot(before, after, boxes, np.asarray(pair.labels.class_ids, dtype=np.int64))


def _signal(shot: Shot, signal: str) -> NDArray[np.uint8]:
    """[channels, height, width]."""
    images = [shot.before, shot.after]
    if signal != FEATURES:
        images[0] = np.abs(shot.after.astype(np.int16) - shot.before.astype(np.int16)).astype(np.uint8)
    if signal == DIFFERENCE:
        images.pop()
    return np.concatenate([image.transpose(2, 0, 1) for image in images])
