"""How many images a training step's forward and backward pass has memory for, by an estimate that times nothing.

Two runs must choose alike, so it depends on nothing but the model, the size of its images and the memory there is.
"""

import math

import torch
from torch import Tensor
from transformers import DetrForObjectDetection

from trainable.data.dataset import padded_size
from trainable.data.pairs import PairData
from trainable.detector.loading import load_processor
from trainable.detector.parts import freeze_all_but
from trainable.recipe import PARTS
from trainable.training.weights import trial_model

MOST_ON_CPU = 16
"""Images at a time beyond which a CPU gains nothing: of the embedded checkpoint, one takes 12.6 ms among 16 and 12.4
among 32."""
MOST_ON_GPU = 256

SHARE = 0.7
"""Of the memory that a trial may count on; libraries, images on their way and what is not foreseen have the rest."""

PASSING = 1.25
"""Bytes at the peak of a backward pass for each that the forward pass keeps. Measured on a CPU: 1.18 of a DETR on a
ResNet-50 at 800x1066."""

_MEASURED_EDGE = 512
"""Pixels of the longest edge at which it is counted what a pass keeps; from there it goes by area, which is a little
much."""


def micro_batch_that_fits(pairs: PairData, checkpoint: str, seed: int, memory: int, on_gpu: bool) -> int:
    """How many images go through a trial's model at a time, also where all of it trains.

    Args:
        pairs: the data set.
        checkpoint: folder or hub name of the DETR to start from.
        seed: the recipe's.
        memory: bytes that the trial may count on.
        on_gpu: whether it trains on one.

    Raises:
        ModelError: the checkpoint cannot be used.
    """
    size = padded_size((*pairs.train, *pairs.val), load_processor(checkpoint))
    model = trial_model(checkpoint, pairs.names, seed)
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return largest_that_fits(weights, activation_bytes(model, size), memory, MOST_ON_GPU if on_gpu else MOST_ON_CPU)


def largest_that_fits(weights: int, image: int, memory: int, most: int) -> int:
    """The largest power of two of images, at most `most` and at least 1.

    Args:
        weights: bytes of the model's parameters; gradients and AdamW's two moments have as many each.
        image: `activation_bytes`.
        memory: bytes that the trial may count on.
        most: images.
    """
    fit = min((SHARE * memory - 4 * weights) / (PASSING * image), most)
    return 2 ** int(math.log2(fit)) if fit >= 1 else 1


def activation_bytes(model: DetrForObjectDetection, size: tuple[int, int]) -> int:
    """Bytes that a forward pass in float32 keeps of one image for the backward pass, where all of the model trains.

    Args:
        model: on the CPU; is put into eval mode, so that nothing is drawn.
        size: height and width of the image.
    """
    shrink = max(1.0, max(size) / _MEASURED_EDGE)
    height, width = (math.ceil(edge / shrink) for edge in size)
    freeze_all_but(model, PARTS)
    model.eval()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}  # Held, so that no two of them have one address.

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage().data_ptr(), tensor)
        return tensor

    image, mask = torch.zeros(1, 3, height, width), torch.ones(1, height, width, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(pixel_values=image, pixel_mask=mask)
    found = sum(tensor.untyped_storage().nbytes() for address, tensor in kept.items() if address not in own)
    return round(found * math.prod(size) / (height * width))
