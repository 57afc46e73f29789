"""Views of a model that begin behind its first parts, and the values that these parts hand on.

The values of a backbone are its map [channels, h, w]; of an encoder, its states laid out as a map [d_model, h, w]; of a
decoder, its states [k, queries, d_model]: those of each layer where the model has auxiliary losses, then the last.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.detr.modeling_detr import DetrDecoderOutput, DetrModelOutput


def model_from_features(model: PreTrainedModel, parts: Sequence[str], dtype: torch.dtype) -> PreTrainedModel:
    """A view of a model that takes the values of its first parts for the images.

    Its `model.model` takes them as `pixel_values` [n, ...], float32, and the mask of the backbone's map as `pixel_mask`
    [n, h, w], 1 on real pixels. All parameters and modules that it has are the whole model's own, not copies.

    Args:
        model: the whole model; it is not altered.
        parts: the first ones of `recipe.PARTS`, at least the backbone and at most to the decoder.
        dtype: in which these parts give their values.
    """
    if "decoder" in parts:
        return _with(model, {"model": _KeptDecoder(dtype)})
    stubs: dict[str, nn.Module] = {"backbone": _KeptMaps(dtype)}
    if "encoder" in parts:
        stubs |= {"input_projection": nn.Identity(), "encoder": _KeptEncoder()}
    return _with(model, {"model": _with(model.model, stubs)})


def with_feature_extractor(behind: PreTrainedModel, values_of: Callable[..., dict[str, Tensor]]) -> PreTrainedModel:
    """A view that takes images, has `values_of` make of them what `behind` takes, and goes on as that does.

    Args:
        behind: from `model_from_features`.
        values_of: from `pixel_values` [n, channels, height, width] and `pixel_mask` to the batch that `behind.model`
            takes.
    """
    goes_on = behind.model

    def forward(pixel_values: Tensor, pixel_mask: Tensor) -> DetrModelOutput:
        return goes_on(**values_of(pixel_values, pixel_mask))

    fed = _with(goes_on, {})
    fed.forward = forward
    return _with(behind, {"model": fed})


def kept_values(model: PreTrainedModel, parts: Sequence[str], maps: Tensor, mask: Tensor) -> Tensor:
    """The values of a model's first parts for one image, in the precision that the model gives.

    Args:
        model: the whole model.
        parts: as `model_from_features` takes them.
        maps: the backbone's map of the image, [1, channels, h, w].
        mask: bool [1, h, w], True on real pixels.
    """
    if "encoder" not in parts:
        return maps[0]
    stubs: dict[str, nn.Module] = {"backbone": _KeptMaps(maps.dtype)}
    if "decoder" not in parts:
        stubs["decoder"] = _NoDecoder()
    hidden = _with(model.model, stubs)(pixel_values=maps.float(), pixel_mask=mask)
    last: Tensor = hidden.last_hidden_state
    if "decoder" not in parts:
        return last[0].T.reshape(-1, *mask.shape[1:])
    if hidden.intermediate_hidden_states is None:
        return last
    return torch.cat([hidden.intermediate_hidden_states[:, 0], last])


class _KeptMaps(nn.Module):
    """Stands in the place of the backbone: takes its map for the image."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        # Laid out in memory as the backbone's own are, so that what follows takes the same way to the same bits.
        return [(pixel_values.to(self.dtype, memory_format=torch.channels_last), pixel_mask.bool())]


class _KeptEncoder(nn.Module):
    """Stands in the place of the encoder: takes its states [n, h * w, d_model] for its input."""

    def forward(self, inputs_embeds: Tensor, **kwargs: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds.contiguous())


class _NoDecoder(nn.Module):
    """Stands in the place of the decoder where only what comes before it is asked for; gives the encoder's states."""

    def forward(self, encoder_hidden_states: Tensor, **kwargs: Any) -> DetrDecoderOutput:
        return DetrDecoderOutput(last_hidden_state=encoder_hidden_states)


class _KeptDecoder(nn.Module):
    """Stands in the place of all but the heads: takes the decoder's states [n, k, queries, d_model] for the image."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> DetrModelOutput:
        states = pixel_values.to(self.dtype).transpose(0, 1).contiguous()
        return DetrModelOutput(last_hidden_state=states[-1], intermediate_hidden_states=states[:-1])


def _with(module: Any, children: Mapping[str, nn.Module]) -> Any:
    """A shallow copy with other children; all else is shared with `module`, which stays as it is."""
    copied = copy.copy(module)
    # torch 2.13 has no public way to hold other children under the same names than the module that was copied.
    copied._modules = {**module._modules, **children}
    return copied
