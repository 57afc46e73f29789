"""How much memory a detector takes while it trains, told from its config alone: nothing is loaded, computed or timed.

    weights + gradients + AdamW's two moments                      whatever the number of images
    + images at a time x (what backward needs + what is in use)

Checked against what was measured (`tests/trainable/detector/test_memory.py`, `benchmarks/real_model.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from trainable.detector.families.registry import family_of
from trainable.detector.parts import freeze_all_but, part_of
from trainable.detector.signal_models import config_with_signal, detector_class
from trainable.model_signal import CHANNELS, DIFFERENCE
from trainable.recipe import PARTS

FLOAT_BYTES = 4
IN_USE = 1.5
"""What a step takes at its height, of what backward needs: gradients of activations and what convolutions work in.
Measured for the embedded checkpoint and DETR-R50 at two sizes: 1.2 to 1.6."""
MAPS_AT_ONCE = 7
"""Largest maps that a forward pass takes beside what it keeps: a layer's input, its output, a shortcut, and what
convolutions lay out anew. Measured likewise, on a CPU and on an NVIDIA H100: 4 to 7."""
PROCESS_BYTES = {"cpu": 8 * 10**8, "cuda": 6 * 10**8}
"""What a trial takes before it has a model: libraries of its process on a CPU, the context on a GPU."""

MOST_AT_A_TIME = {"cpu": 16, "cuda": 256}
"""Images in a forward pass beyond which nothing is gained: on a CPU, one of the embedded checkpoint takes 4.8 ms of a
core among 16, and 4.9 among 32 (`benchmarks/ablation.py`)."""
SHARE = 0.7
"""Of the memory that a trial may count on; images on their way and what is not foreseen have the rest."""


@dataclass(frozen=True)
class TrainingMemory:
    """What training takes of the memory of its device, in bytes."""

    fixed: int
    """However many images go through the model at a time."""
    image: int
    """Each image that is trained on at a time."""
    evaluated_image: int
    """Each image that is evaluated at a time; never while one is trained on."""

    def of(self, images: int, evaluated: int = 0) -> int:
        """The height of a trial that trains on so many images at a time, and evaluates so many."""
        return self.fixed + max(images * self.image, evaluated * self.evaluated_image)

    def images_within(self, memory: float) -> int:
        """The most images at a time that train in so many bytes; 0 where not even one does."""
        return max(0, int((memory - self.fixed) // self.image))


def micro_batch_within(memory: int, takes: TrainingMemory, device: str) -> int:
    """The largest power of two of images that are trained on at a time, with memory to spare; at least 1.

    Two runs choose alike, since it depends on nothing but the model, the size of its images and the memory there is.

    Args:
        memory: bytes that the trial may count on.
        takes: what it takes.
        device: `cpu` or `cuda`.
    """
    fit = min(takes.images_within(SHARE * memory), MOST_AT_A_TIME[device])
    return 2 ** int(math.log2(fit)) if fit else 1


def training_memory(
    config: PreTrainedConfig,
    padded: tuple[int, int],
    trainable: Sequence[str] = PARTS,
    device: str = "cpu",
    signal: str = DIFFERENCE,
) -> TrainingMemory:
    """What it takes to train these parts in float32; autocast to 16 bits takes about as much.

    Args:
        config: of the model.
        padded: height and width of every image.
        trainable: the parts that learn; all of them take the most.
        device: `cpu` or `cuda`. On a CPU a process keeps a second copy of the weights, which trials start from.
        signal: what the model is to be given of a pair, whatever the config says.
    """
    config = config_with_signal(config, signal)
    with torch.device("meta"):
        model = detector_class(config)(config)
    freeze_all_but(model, trainable)
    sizes = dict.fromkeys(PARTS, 0)
    for name, parameter in model.named_parameters():
        sizes[part_of(model, name)] += parameter.numel() * FLOAT_BYTES
    copies = 2 if device == "cpu" else 1
    fixed = PROCESS_BYTES[device] + copies * sum(sizes.values()) + 3 * sum(sizes[part] for part in trainable)
    kept, largest, cells = _backbone(model.model.backbone, (CHANNELS[signal], *padded))
    kept += family_of(config).kept_numbers(config, cells, trainable) * FLOAT_BYTES
    passing = MAPS_AT_ONCE * largest
    return TrainingMemory(fixed, int(max(IN_USE * kept, kept + passing)), passing)


def _backbone(backbone: nn.Module, shape: tuple[int, int, int]) -> tuple[int, int, list[int]]:
    """What an image [channels, height, width] takes of a backbone.

    Returns:
        Bytes that its backward pass needs, those of its largest map, and cells of each map that it gives.
    """
    own = {value.untyped_storage()._cdata for value in (*backbone.parameters(), *backbone.buffers())}
    kept: dict[int, Tensor] = {}
    largest = 0

    def keep(value: Tensor) -> Tensor:
        if (storage := value.untyped_storage()._cdata) not in own:
            kept[storage] = value  # Held, so that no other storage takes its number.
        return value

    def look(module: nn.Module, inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel() * output.itemsize)

    for module in backbone.modules():
        module.register_forward_hook(look)
    image = torch.empty(1, *shape, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        given = backbone(image, torch.ones(1, *shape[1:], dtype=torch.int64, device="meta"))
    # Some families' backbones give their maps alone, others the embeddings of places beside them.
    maps = [each[0, 0].numel() for each, _ in (given if isinstance(given, list) else given[0])]
    return sum(value.untyped_storage().nbytes() for value in kept.values()), largest, maps
