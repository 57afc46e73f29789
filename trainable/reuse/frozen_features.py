"""Frozen layers once: what lies in front of the first part that a stage trains gives the same outputs all the time.

Frozen parts run in eval mode, so what they make of an image stays the same in every epoch, and in every trial of the
node that starts from the same weights. It is computed once, image by image, so that it does not depend on batching,
and kept on disk; the stage then trains a view of the model that begins behind it. Against the whole model, whose
batches hold several images, that moves outputs by rounding, about 1e-6; a batch of one image gives the same bits.
On a GPU, too, an image gives the same bits each time: cuDNN is held to algorithms that do.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedModel

from trainable.compute import computed_with, repeating_cudnn
from trainable.data.dataset import Key, MovedObjectDataset, PairCollator, index_of
from trainable.data.image_cache import pixels_key, refuse_changed
from trainable.data.pair import Pair
from trainable.data.trial_data import TrialData
from trainable.detector.families.registry import family_of
from trainable.detector.model_view import kept_values, model_from_features, with_feature_extractor
from trainable.detector.parts import part_of
from trainable.precision import autocast
from trainable.recipe import PARTS
from trainable.storage.disk_cache import DiskCache, open_disk_cache

VERSION = 2
"""Goes up whenever what is kept of an image changes, to the last bit, or is laid out in another way."""

_NOT_IN_OUTPUTS = {"_name_or_path", "architectures", "dtype", "id2label", "label2id", "transformers_version"}


def use_frozen_features(
    model: PreTrainedModel,
    trainable: Sequence[str],
    data: TrialData,
    dtype: torch.dtype,
    cache_bytes: int,
    cache: Path | None = None,
) -> tuple[PreTrainedModel, TrialData]:
    """A model and a data set with which a stage trains without computing its frozen first parts again.

    The model is a view of `model`: it lacks those parts and shares all other parameters, under the same names. The data
    set's items are the outputs of those parts instead of images, with the same labels. It is best read without worker
    processes: there is nothing to decode, and on a GPU they could not mend a damaged record.

    Args:
        model: the whole model, on the device that it is to train on; its first parts are put into eval mode.
        trainable: parts that the stage trains.
        data: images, in `MovedObjectDataset`.
        dtype: of the forward pass.
        cache_bytes: most bytes of all stores of the cache together, see `open_disk_cache`; 0 keeps nothing.
        cache: folder to keep the outputs in; the user's cache folder by default.

    Returns:
        `model` and `data` themselves where the first part trains. Where the outputs are not kept, or cannot be, which
        is then logged, a view that computes them from `data`'s batches each time, in the same way and to the same bits.

    Raises:
        ImageError, ValueError: an image cannot be read, or is not the one that was checked.
    """
    parts = frozen_prefix(trainable, family_of(model.config).cacheable)
    if not parts:
        return model, data
    train, val = data.train, data.val
    assert isinstance(train, MovedObjectDataset) and isinstance(val, MovedObjectDataset)
    prefix = FrozenPrefix(model, parts, (train, val), data.collator, dtype)
    begins_behind = model_from_features(model, parts, prefix.values_dtype, prefix.map_shapes)
    # With one thread: autocast, gradients being off and the number of torch's threads are a thread's own affair.
    records = cache_bytes and open_disk_cache(
        "activations", prefix.key(), prefix.record_sizes(), prefix.record, cache_bytes, cache, threads=1
    )
    if not records:
        return with_feature_extractor(begins_behind, prefix.batch), data
    behind = dataclasses.replace(
        data,
        train=ActivationDataset(train, prefix, records),
        val=ActivationDataset(val, prefix, records),
        collator=ActivationCollator(data.collator.height, data.collator.width),
    )
    return begins_behind, behind


def frozen_prefix(trainable: Sequence[str], cacheable: tuple[str, ...]) -> tuple[str, ...]:
    """The parts in front of the first one that trains, as far as their outputs can be kept and are worth it."""
    return cacheable[: min(PARTS.index(part) for part in trainable)]


class FrozenPrefix:
    """The first parts of a model, which a stage does not train.

    What they make of an image are its `kept_values` and a mask, bool [h, w], True on real pixels: that of the
    backbone's last map, or of the image where the model goes on from several maps.

    Args:
        model: the whole model.
        parts: the first ones of `recipe.PARTS`, at most to the decoder.
        splits: the images.
        collator: pads each image to the same size.
        dtype: of the forward pass.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        parts: Sequence[str],
        splits: Sequence[MovedObjectDataset],
        collator: Callable[[list[dict[str, Any]]], dict[str, Any]],
        dtype: torch.dtype,
    ):
        self._model = model
        self._parts = parts
        self._splits = splits
        self._collator = collator
        self._dtype = dtype
        self._items = {name: (split, key) for split in splits for name, key in split.keys().items()}
        blank = self._collator([{"pixel_values": torch.zeros(splits[0].channels, 1, 1), "labels": {}}])
        self._padded_size = tuple(blank["pixel_values"].shape[-2:])
        values, mask = self._outputs(blank)
        self.map_shapes = [each.shape[1:] for each, _ in self._maps(blank)]
        self.values_dtype = values.dtype
        self._values_shape, self._mask_shape = values.shape, mask.shape

    def key(self) -> str:
        """SHA-256, in hex, over all that the outputs depend on: weights, images and how they are computed."""
        model = self._model
        config = {name: value for name, value in model.config.to_dict().items() if name not in _NOT_IN_OUTPUTS}
        depends_on = [
            VERSION,
            self._parts,
            config,
            model.config._attn_implementation,  # has no public name in transformers 5.23
            pixels_key([pair for split in self._splits for pair in split.pairs], self._splits[0].processor),
            self._padded_size,
            self._dtype,
            *(split.draws for split in self._splits if split.draws),
            *computed_with(model.device),
            transformers.__version__,
        ]
        digest = hashlib.sha256(json.dumps(depends_on, sort_keys=True, default=str).encode())
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if part_of(model, name) in self._parts:
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} {tensor.stride()}".encode())
                digest.update(_bytes(tensor))
        return digest.hexdigest()

    def record_sizes(self) -> dict[str, int]:
        """Bytes of each item's `record`, by its name."""
        size = self._values_shape.numel() * self.values_dtype.itemsize + self._mask_shape.numel()
        return dict.fromkeys(self._items, size)

    def record(self, name: str) -> bytes:
        """What the parts make of an item's image, bit for bit: the values' bytes, then the mask's, one a pixel.

        Raises:
            ImageError, ValueError: the image cannot be read, or is not the one that was checked.
        """
        split, key = self._items[name]
        values, mask = self._outputs(self._collator([split.item(key)]))
        if not split.is_kept:
            refuse_changed(split.pairs[index_of(key)])
        return _bytes(values) + _bytes(mask)

    def batch(self, pixel_values: Tensor, pixel_mask: Tensor) -> dict[str, Tensor]:
        """What an `ActivationCollator` makes of the records of a batch of images."""
        images = zip(pixel_values.split(1), pixel_mask.split(1), strict=True)
        outputs = [self._outputs({"pixel_values": image, "pixel_mask": mask}) for image, mask in images]
        return _stacked([values.contiguous() for values, _ in outputs], [mask for _, mask in outputs])

    def outputs(self, record: bytes) -> tuple[Tensor, Tensor]:
        """Values and mask of a `record`."""
        raw = torch.frombuffer(bytearray(record), dtype=torch.uint8)
        mask_bytes = self._mask_shape.numel()
        values, mask = raw[:-mask_bytes].view(self.values_dtype), raw[-mask_bytes:].view(torch.bool)
        return values.reshape(self._values_shape), mask.reshape(self._mask_shape)

    def _outputs(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Values and mask of a batch of one image."""
        maps = self._maps(batch)
        _, mask = maps[-1]
        if not family_of(self._model.config).goes_on_from_last_map:
            mask = batch["pixel_mask"].bool().to(mask.device)
        with torch.no_grad(), autocast(self._model.device, self._dtype), repeating_cudnn():
            return kept_values(self._model, self._parts, maps), mask[0]

    def _maps(self, batch: Mapping[str, Any]) -> list[tuple[Tensor, Tensor]]:
        """The backbone's maps of a batch of one image, each with its mask."""
        model, family, device = self._model, family_of(self._model.config), self._model.device
        for part in self._parts:
            for module in family.parts[part]:
                model.get_submodule(module).eval()
        with torch.no_grad(), autocast(device, self._dtype), repeating_cudnn():
            maps = model.get_submodule(family.maps)(batch["pixel_values"].to(device), batch["pixel_mask"].to(device))
            return list(maps)


class ActivationDataset(Dataset[dict[str, Any]]):
    """The items of a `MovedObjectDataset` with what a frozen prefix makes of each image in the image's place."""

    def __init__(self, images: MovedObjectDataset, prefix: FrozenPrefix, records: DiskCache):
        self._images = images
        self._prefix = prefix
        self._records = records

    @property
    def pairs(self) -> Sequence[Pair]:
        """The pairs of its items."""
        return self._images.pairs

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """The item of `key`: `pixel_values` and `pixel_mask` (`FrozenPrefix.outputs`) and the image's `labels`.

        No image is read, unless its record is damaged.
        """
        values, mask = self._prefix.outputs(self._records[self._images.name(key)])
        return {"pixel_values": values, "pixel_mask": mask, "labels": self._images.labels(key)}


class ActivationCollator(PairCollator):
    """Makes a batch of items of `ActivationDataset`, whose images were padded to its size."""

    def __call__(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Stacks n items, for the model that begins behind the same prefix.

        Returns:
            `pixel_values` (float32 [n, ...]), `pixel_mask` (int64 [n, h, w], 1 on real pixels) and `labels`, a list.
            The values are float32, which holds those of any precision exactly: DETR's position embeddings take their
            precision from the input, which in the whole model is a float32 image.
        """
        values, masks = ([item[name] for item in items] for name in ("pixel_values", "pixel_mask"))
        return {**_stacked(values, masks), "labels": [item["labels"] for item in items]}


def _stacked(values: Sequence[Tensor], masks: Sequence[Tensor]) -> dict[str, Tensor]:
    return {"pixel_values": torch.stack(list(values)).float(), "pixel_mask": torch.stack(list(masks)).long()}


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
