"""The named parts of a DETR, and which of them learn."""

from collections.abc import Sequence

from torch import nn
from transformers import DetrForObjectDetection

PART_MODULES = {
    "backbone": ("model.backbone",),
    "encoder": ("model.input_projection", "model.position_embedding", "model.encoder"),
    "decoder": ("model.query_position_embeddings", "model.decoder"),
    "box_head": ("bbox_predictor",),
    "class_head": ("class_labels_classifier",),
}
"""The modules of `DetrForObjectDetection` that make up each part of `recipe.PARTS`."""


def part_of(name: str) -> str:
    """The part that a parameter or buffer belongs to.

    Args:
        name: dotted name in a `DetrForObjectDetection`.

    Raises:
        KeyError: it belongs to none.
    """
    for part, modules in PART_MODULES.items():
        if any(name.startswith(f"{module}.") for module in modules):
            return part
    raise KeyError(f"{name} belongs to no part of a DETR")


def freeze_all_but(model: DetrForObjectDetection, trainable: Sequence[str]) -> None:
    """Lets only the parts `trainable` require gradients. Sets every parameter: built and loaded models differ."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in trainable)


def set_modes(model: DetrForObjectDetection, trainable: Sequence[str]) -> None:
    """Puts the parts `trainable` into train mode and the others into eval mode (no dropout, no batch statistics).

    A model that lacks frozen parts (see `trainable.reuse.frozen_features`) is as good.
    """
    nn.Module.train(model)
    modules = dict(model.named_modules())
    for part, names in PART_MODULES.items():
        for name in names:
            if name in modules:
                modules[name].train(part in trainable)
