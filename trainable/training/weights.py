"""The weights of a trial on disk: what its stages have trained, on top of the checkpoint that it started from.

What no stage has trained is the checkpoint's and is not written again: for a DETR on a ResNet-50 whose heads alone have
been trained, that is half a megabyte in the place of 166.
"""

import copy
import functools
import zlib
from collections.abc import Sequence
from pathlib import Path

import safetensors
import safetensors.torch
from transformers import PreTrainedModel

from trainable.detector.loading import ModelError, load_model
from trainable.detector.parts import part_of
from trainable.model_signal import DIFFERENCE
from trainable.recipe import Recipe
from trainable.storage.durable_file import write_atomically


def trained_parts(recipe: Recipe, stage: int) -> frozenset[str]:
    """The parts that `recipe` has trained by the end of `stage`."""
    return frozenset(part for earlier in recipe.stages[: stage + 1] for part in earlier.trainable)


def save_weights(model: PreTrainedModel, parts: frozenset[str], path: Path) -> int:
    """Writes the parameters of `parts` to one safetensors file, which appears whole and is on the disk.

    Returns:
        Its checksum, see `trainable.storage.durable_file`.
    """
    tensors = {name: value.detach() for name, value in model.named_parameters() if part_of(model, name) in parts}
    data = safetensors.torch.save({name: value.cpu().contiguous() for name, value in tensors.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data)
    return zlib.crc32(data)


def trial_model(
    checkpoint: str | Path, names: Sequence[str], seed: int, weights: Path | None = None, signal: str = DIFFERENCE
) -> PreTrainedModel:
    """The detector of a trial, a model of its own each time.

    Args:
        checkpoint: folder or hub name of what the trial started from; read once a process.
        names: class names of the data set, by class id.
        seed: the recipe's, of a new class head.
        weights: file of `save_weights` to put on top.
        signal: what the model is given of a pair, as the recipe says.

    Raises:
        ModelError: the checkpoint cannot be used, or `weights` is damaged.
        OSError: `weights` cannot be read.
    """
    model = copy.deepcopy(_base_model(str(checkpoint), tuple(names), seed, signal))
    if weights is not None:
        try:
            trained = safetensors.torch.load_file(weights)
        except safetensors.SafetensorError as error:
            raise ModelError(f"{weights} is damaged: {error}") from None
        unknown = model.load_state_dict(trained, strict=False).unexpected_keys
        assert not unknown, f"{weights} has weights that the model lacks: {unknown[:3]}"
    return model


@functools.lru_cache(maxsize=1)
def _base_model(checkpoint: str, names: tuple[str, ...], seed: int, signal: str) -> PreTrainedModel:
    return load_model(checkpoint, names, seed, signal)
