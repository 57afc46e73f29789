"""The detectors by what they are given of a pair, see `trainable.model_signal`; all DETRs have the same parameters.

A model's config keeps its `signal` unless that is the plain difference.
"""

import copy
from typing import Any

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_OBJECT_DETECTION_MAPPING,
    DetrConfig,
    DetrForObjectDetection,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.detr.modeling_detr import DetrConvEncoder

from trainable.model_signal import CHANNELS, DIFFERENCE, FEATURES, STACKED


class FeatureDifferenceDetr(DetrForObjectDetection):  # type: ignore[misc]  # transformers has no types for it.
    """A DETR whose encoder is given the absolute difference of the backbone's maps of two images.

    Its `pixel_values` are the before and the after image, float32 [n, 6, height, width], each normalised. Its weights
    have the names of a `DetrForObjectDetection`.
    """

    def __init__(self, config: DetrConfig):
        super().__init__(config)
        self.model.backbone = _DifferenceOfMaps(config)


class _DifferenceOfMaps(DetrConvEncoder):  # type: ignore[misc]  # As above.
    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        before, after = (super(_DifferenceOfMaps, self).forward(each, pixel_mask) for each in pixel_values.chunk(2, 1))
        return [((last - first).abs(), mask) for (first, mask), (last, _) in zip(before, after, strict=True)]


def signal_of_config(config: PreTrainedConfig) -> str:
    """What a model is given, one of `SIGNALS`."""
    return str(getattr(config, "signal", DIFFERENCE))


def detector_class(config: PreTrainedConfig) -> Any:
    """The class of a model: transformers' own, unless the model is given `FEATURES`."""
    if signal_of_config(config) == FEATURES:
        return FeatureDifferenceDetr
    return MODEL_FOR_OBJECT_DETECTION_MAPPING[type(config)]


def class_name_of(signal: str) -> str:
    """The class of models that are given a signal, with its module."""
    if signal == FEATURES:
        return f"{FeatureDifferenceDetr.__module__}.{FeatureDifferenceDetr.__name__}"
    return "transformers.DetrForObjectDetection"


def config_with_signal(config: PreTrainedConfig, signal: str) -> PreTrainedConfig:
    """A copy of a model's config, for another signal or the same."""
    changed = copy.deepcopy(config)
    if signal != DIFFERENCE:
        changed.signal = signal
    elif hasattr(changed, "signal"):
        del changed.signal
    # The features' backbone sees an image of three channels at a time.
    changed.backbone_config.num_channels = CHANNELS[STACKED if signal == STACKED else DIFFERENCE]
    return changed


def with_signal(model: PreTrainedModel, signal: str) -> PreTrainedModel:
    """A copy of a model that is given another signal, or the same.

    Channels that are new to the first convolution begin with weights of 0, so that a model that is given `STACKED`
    begins with what it made of the difference; weights of channels that are not given any more are left out.
    """
    config = config_with_signal(model.config, signal)
    changed = detector_class(config)(config)
    shapes = {name: value.shape for name, value in changed.state_dict().items()}
    changed.load_state_dict({name: _fitted(value, shapes[name]) for name, value in model.state_dict().items()})
    return changed.eval()


def _fitted(value: Tensor, shape: torch.Size) -> Tensor:
    """A weight as it is; the first convolution's with as many channels as it is to take."""
    if value.shape == shape:
        return value
    kept: Any = value[:, : shape[1]]
    return torch.cat([kept, kept.new_zeros(shape[0], shape[1] - kept.shape[1], *shape[2:])], dim=1)
