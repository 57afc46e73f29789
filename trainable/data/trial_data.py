"""A data set as a trial is fed with it."""

from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from trainable.data.dataset import MovedObjectDataset, PairCollator, padded_size
from trainable.data.image_cache import ImageCache
from trainable.data.pairs import PairData
from trainable.data.resizing import ImageProcessor


@dataclass(frozen=True)
class TrialData:
    """A data set as a trial feeds it to the model: both splits, padded to one size."""

    train: Dataset[dict[str, Any]]
    val: Dataset[dict[str, Any]]
    collator: PairCollator
    drawn_anew: bool = False
    """Whether the training images are others in every epoch."""
    skip_bad: bool = False
    """Whether other pairs stand in for those whose images cannot be read any more."""

    @classmethod
    def of(cls, pairs: PairData, processor: ImageProcessor, store: ImageCache | None = None) -> "TrialData":
        """The data set's images through `processor`, padded to the largest height and width of them all.

        They come out of `store` if there is one; it makes no difference to the numbers.
        """
        height, width = padded_size((*pairs.train, *pairs.val), processor)
        return cls(
            MovedObjectDataset(pairs.train, processor, store, pairs.skip_bad),
            MovedObjectDataset(pairs.val, processor, store, pairs.skip_bad),
            PairCollator(height, width),
            skip_bad=pairs.skip_bad,
        )
