"""The training pairs of a stage, changed at random in every epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DetrImageProcessorPil

from trainable.data.augmentation import Changes, Shot
from trainable.data.dataset import Key, MovedObjectDataset
from trainable.data.image_cache import ImageCache
from trainable.data.pair import Pair
from trainable.data.resizing import resized_pair


class AugmentedPairs(MovedObjectDataset):
    """As `MovedObjectDataset`; but what is asked for with its epoch, as training does, is changed at random.

    The changes are drawn from (seed, epoch, index) alone: they are the same whoever loads the item, and when.

    Args:
        pairs, processor, stand_ins: as of `MovedObjectDataset`.
        changes: how pairs are changed.
        seed: of the draws.
        both: has both resized images of each pair; None makes them when they are asked for.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        processor: DetrImageProcessorPil,
        changes: Changes,
        seed: int,
        both: ImageCache | None = None,
        stand_ins: bool = False,
    ):
        super().__init__(pairs, processor, None, stand_ins)
        self._changes = changes
        self._seed = seed
        self._both = both
        self._epoch: int | None = None

    def __getitem__(self, key: Key) -> dict[str, Any]:
        self._epoch = key[0] if isinstance(key, tuple) else None
        return super().__getitem__(key)

    def item(self, index: int) -> dict[str, Any]:
        """Item `index`; changed, where it is asked for with an epoch."""
        if self._epoch is None:
            return super().item(index)
        shot = self.changed(index, self._epoch)
        labels = self.labels(index)
        height, width = shot.after.shape[:2]
        corners = torch.from_numpy(shot.boxes / [width, height, width, height])
        low, high = corners[:, :2], corners[:, 2:]
        labels["boxes"] = torch.cat([(low + high) / 2, high - low], dim=1).float()
        labels["class_labels"] = torch.from_numpy(shot.class_ids)
        return {"pixel_values": self.normalised(_difference(shot)), "labels": labels}

    def changed(self, index: int, epoch: int) -> Shot:
        """Pair `index` as an epoch is given it, of the model's size."""
        rng = np.random.default_rng([self._seed, epoch, index])
        other = int(rng.integers(len(self.pairs)))
        return self._changes(self._shot(index), rng, lambda: self._shot(other))

    def _shot(self, index: int) -> Shot:
        pair = self.pairs[index]
        images = self._both[pair] if self._both else resized_pair(pair, self.processor)
        before, after = (np.ascontiguousarray(image.transpose(1, 2, 0)) for image in (images[:3], images[3:]))
        height, width = after.shape[:2]
        centre, size = np.hsplit(np.asarray(pair.labels.boxes_cxcywh_normalised, dtype=np.float64).reshape(-1, 4), 2)
        boxes = np.hstack([centre - size / 2, centre + size / 2]) * [width, height, width, height]
        return Shot(before, after, boxes, np.asarray(pair.labels.class_ids, dtype=np.int64))


def _difference(shot: Shot) -> NDArray[np.uint8]:
    """[3, height, width]."""
    apart = np.abs(shot.after.astype(np.int16) - shot.before.astype(np.int16)).astype(np.uint8)
    return np.ascontiguousarray(apart.transpose(2, 0, 1))
