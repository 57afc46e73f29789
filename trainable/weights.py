"""The weights of a trial on disk: what its stages have trained, on top of the checkpoint that it started from.

What no stage has trained is the checkpoint's and is not written again: for a DETR on a ResNet-50 whose heads alone have
been trained, that is half a megabyte in the place of 166.
"""

import copy
import functools
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
from transformers import DetrForObjectDetection

from trainable.model import load_model, part_of
from trainable.recipe import Recipe


def trained_parts(recipe: Recipe, stage: int) -> frozenset[str]:
    """The parts that `recipe` has trained by the end of `stage`."""
    return frozenset(part for earlier in recipe.stages[: stage + 1] for part in earlier.trainable)


def save_weights(model: DetrForObjectDetection, parts: frozenset[str], path: Path) -> int:
    """Writes the parameters of `parts` to one safetensors file, which appears whole and is on the disk.

    Returns:
        Its checksum, see `checksum`.
    """
    tensors = {name: value.detach() for name, value in model.named_parameters() if part_of(name) in parts}
    data = safetensors.torch.save({name: value.cpu().contiguous() for name, value in tensors.items()})
    scratch = path.with_name(path.name + ".tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    with scratch.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    return zlib.crc32(data)


def trial_model(
    checkpoint: str | Path, names: Sequence[str], seed: int, weights: Path | None = None
) -> DetrForObjectDetection:
    """The DETR of a trial, a model of its own each time.

    Args:
        checkpoint: folder or hub name of what the trial started from; read once a process.
        names: class names of the data set, by class id.
        seed: the recipe's, of a new class head.
        weights: file of `save_weights` to put on top.

    Raises:
        ModelError: the checkpoint cannot be used.
        safetensors.SafetensorError, OSError: `weights` cannot be read.
    """
    model = copy.deepcopy(_base_model(str(checkpoint), tuple(names), seed))
    if weights is not None:
        unknown = model.load_state_dict(safetensors.torch.load_file(weights), strict=False).unexpected_keys
        assert not unknown, f"{weights} has weights that the model lacks: {unknown[:3]}"
    return model


def checksum(path: Path) -> int:
    """CRC-32 of a file's bytes."""
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


@functools.lru_cache(maxsize=1)
def _base_model(checkpoint: str, names: tuple[str, ...], seed: int) -> DetrForObjectDetection:
    return load_model(checkpoint, names, seed)
