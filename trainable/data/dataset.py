"""Pairs as the model takes them: differences, resized and normalised by the image processor, padded to one size."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from trainable.data.image_cache import ImageCache
from trainable.data.pair import Pair
from trainable.data.resizing import ImageProcessor, resized_signal, resized_size, signal_of
from trainable.model_signal import CHANNELS

_log = logging.getLogger(__name__)


Key = int | tuple[int, int]
"""By which a data set is asked for an item: its index, or the epoch that it is for and its index."""


def index_of(key: Key) -> int:
    """The index of the item that `key` asks for."""
    return key[1] if isinstance(key, tuple) else key


class EpochSampler(Sampler[tuple[int, int]]):
    """Every item of a data set once an epoch, in an order of the epoch's own; gives (epoch, index).

    Loader workers that outlive an epoch hold the data set as it was when they began. What is to differ from epoch to
    epoch beside the order can reach them only with what they are asked for.

    Args:
        items: of the data set.
        seed: of the orders.
    """

    def __init__(self, items: int, seed: int):
        self._items = items
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Has the next order be that of `epoch`; Trainer calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._items

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # The seed that a loader draws at each epoch unless it has a generator of its own: the draws after it, such as
        # those of dropout, stay the ones that earlier versions made.
        torch.empty((), dtype=torch.int64).random_()
        order = torch.randperm(self._items, generator=torch.Generator().manual_seed(self._seed + self._epoch))
        for index in order.tolist():
            yield self._epoch, index


class MovedObjectDataset(Dataset[dict[str, Any]]):
    """One item a pair: what the model is given of its images, such as their difference, and the boxes of what moved.

    Args:
        pairs: checked pairs, as `read_pairs` gives them.
        processor: says how images are resized and normalised. It never pads here: its padding would rewrite boxes,
            which are normalised to the image, into the padded frame.
        store: has what `resized_signal` makes of the pairs; None makes each when it is asked for. Items are the same.
        stand_ins: where an image cannot be read any more, have the next pair stand in for its own, which is logged.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        processor: ImageProcessor,
        store: ImageCache | None = None,
        stand_ins: bool = False,
    ):
        self.pairs = pairs
        self.processor = processor
        self.store = store
        self.stand_ins = stand_ins
        self._normalised = _normalised_values(processor)

    @property
    def channels(self) -> int:
        """Of its items' `pixel_values`."""
        return CHANNELS[signal_of(self.processor)]

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """The item of `key`, or the one that stands in for it.

        Returns, raises: as `item`; with stand-ins, only where no image can be read at all.
        """
        if not self.stand_ins:
            return self.item(key)
        index = index_of(key)
        for candidate in (*range(index, len(self)), *range(index)):
            try:
                return self.item((key[0], candidate) if isinstance(key, tuple) else candidate)
            except ValueError as error:
                _log.warning("%s; another pair stands in for it", error)
        return self.item(key)

    @property
    def is_kept(self) -> bool:
        """Whether the pixels come out of a store, made of the images that were checked."""
        return self.store is not None

    @property
    def draws(self) -> str:
        """What items depend on beside their pairs and the processor; nothing here."""
        return ""

    def keys(self) -> Mapping[str, Key]:
        """By which all items are asked for that there are, by name: items of one name are the same."""
        return {pair.images_digest: index for index, pair in enumerate(self.pairs)}

    def name(self, key: Key) -> str:
        """The name of the item of `key`."""
        return self.pairs[index_of(key)].images_digest

    def item(self, key: Key) -> dict[str, Any]:
        """The item of `key` itself.

        Returns:
            `pixel_values`, float32 [channels, height, width] after resizing, laid out in memory with the channels last,
            and the `labels`, see there.

        Raises:
            ImageError: an image can no longer be read, or has another size now; the message names the file.
        """
        pair = self.pairs[index_of(key)]
        image = self.store[pair] if self.store else resized_signal(pair, self.processor)
        return {"pixel_values": self.normalised(image), "labels": self.labels(key)}

    def normalised(self, image: NDArray[np.uint8]) -> Tensor:
        """What the processor makes of resized images, [channels, height, width], laid out with the channels last.

        Of the channels, each three are those of an image.
        """
        pixels = np.empty((*image.shape[1:], len(image)), self._normalised.dtype)
        for channel, values in enumerate(image):
            pixels[..., channel] = self._normalised[channel % 3].take(values)
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def labels(self, key: Key) -> dict[str, Tensor]:
        """The labels of the item of `key`, without reading an image.

        Returns:
            `class_labels` (int64 [n]), `boxes` (float32 [n, 4], cxcywh normalised to the image), `image_id` (int64
            [1], the index).
        """
        index = index_of(key)
        labels = self.pairs[index].labels
        boxes_cxcywh_normalised = torch.tensor(labels.boxes_cxcywh_normalised, dtype=torch.float32)
        return {
            "class_labels": torch.tensor(labels.class_ids, dtype=torch.int64),
            "boxes": boxes_cxcywh_normalised.reshape(-1, 4),  # [n, 4] also where n is 0
            "image_id": torch.tensor([index]),
        }


def _normalised_values(processor: ImageProcessor) -> NDArray[np.float32]:
    """What the processor makes of each of the 256 values that a pixel can have, by channel: [3, 256].

    It rescales and normalises pixel by pixel: looking the results up gives the same bits in half the time, laid out so
    that the collator, too, takes half of its time.
    """
    values = np.broadcast_to(np.arange(256, dtype=np.uint8).reshape(16, 16), (3, 16, 16))
    inputs = processor(images=values, input_data_format="channels_first", do_resize=False, do_pad=False)
    return np.reshape(inputs["pixel_values"][0], (3, 256))


@dataclass(frozen=True)
class PairCollator:
    """Makes a batch of items of different size, all padded to the one size of the data set.

    The size is fixed, not the batch's largest: DETR's outputs move a little with the amount of padding, and an image's
    loss must not depend on what it is batched with.
    """

    height: int
    """Pixels of every image of every batch, at least that of the largest; see `padded_size`."""
    width: int
    """Pixels, as `height`."""

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Pads n items with zeros at the bottom and on the right, and leaves their labels alone.

        Returns:
            `pixel_values` (float32 [n, channels, height, width]), `pixel_mask` (int64 [n, height, width], 1 on real
            pixels, 0 on padding) and `labels`, the list of the items' label dicts.

        Raises:
            ValueError: an image is larger than the fixed size.
        """
        # A convolution takes the order of its input for its own: with the channels last, it is a tenth faster on a CPU.
        shape = (len(items), len(items[0]["pixel_values"]), self.height, self.width)
        pixel_values = torch.empty(shape, memory_format=torch.channels_last).zero_()
        pixel_mask = torch.zeros(len(items), self.height, self.width, dtype=torch.int64)
        for index, item in enumerate(items):
            height, width = item["pixel_values"].shape[-2:]
            if height > self.height or width > self.width:
                fixed = f"{self.height}x{self.width}"
                raise ValueError(f"an image of {height}x{width} (height x width) does not fit the batch's {fixed}")
            pixel_values[index, :, :height, :width] = item["pixel_values"]
            pixel_mask[index, :height, :width] = 1
        return {"pixel_values": pixel_values, "pixel_mask": pixel_mask, "labels": [item["labels"] for item in items]}


def padded_size(pairs: Sequence[Pair], processor: ImageProcessor) -> tuple[int, int]:
    """Largest height and largest width that the processor gives any of the pairs, without reading an image.

    Args:
        pairs: all pairs of the data set, train and val together; at least one.
        processor: the one that the data set is given.
    """
    heights, widths = zip(*(resized_size(pair, processor) for pair in pairs), strict=True)
    return max(heights), max(widths)
