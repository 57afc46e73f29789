"""Views of a model that begin behind its first parts, and the values that these parts hand on.

The values of a backbone are its last map [channels, h, w], or where the model goes on from several, all of them, one
behind the other [numbers, 1, 1]; of an encoder, its states laid out as a map [d_model, h, w]; of a
decoder, its states [k, queries, d_model]: those of each layer where the model has auxiliary losses, then the last.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.detr.modeling_detr import DetrDecoderOutput, DetrModelOutput

from trainable.detector.families.registry import family_of


def model_from_features(
    model: PreTrainedModel, parts: Sequence[str], dtype: torch.dtype, shapes: Sequence[torch.Size]
) -> PreTrainedModel:
    """A view of a model that takes the values of its first parts for the images.

    Its `model.model` takes them as `pixel_values` [n, ...], float32, and as `pixel_mask` [n, h, w], 1 on real pixels,
    the mask of the backbone's last map, or where the model goes on from several that of the image. All parameters and
    modules that it has are the whole model's own, not copies.

    Args:
        model: the whole model; it is not altered.
        parts: the first ones of `recipe.PARTS`, at least the backbone and at most to the decoder.
        dtype: in which these parts give their values.
        shapes: of the backbone's maps of an image, [channels, h, w] each.
    """
    family = family_of(model.config)
    if not family.goes_on_from_last_map:
        return _with(model, {"model": _with(model.model, {"backbone": _KeptPyramid(dtype, shapes)})})
    if "decoder" in parts:
        return _with(model, {"model": _KeptDecoder(dtype)})
    kept: nn.Module = _KeptMap(dtype)
    if family.maps != "model.backbone":  # What lies around it makes embeddings of places, from the mask alone.
        kept = _with(model.model.backbone, {family.maps.rpartition(".")[2]: kept})
    stubs: dict[str, nn.Module] = {"backbone": kept}
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

    def forward(pixel_values: Tensor, pixel_mask: Tensor, **how: Any) -> Any:
        return goes_on(**values_of(pixel_values, pixel_mask), **how)

    fed = _with(goes_on, {})
    fed.forward = forward
    return _with(behind, {"model": fed})


def kept_values(model: PreTrainedModel, parts: Sequence[str], maps: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """The values of a model's first parts for one image, in the precision that the model gives.

    Args:
        model: the whole model.
        parts: as `model_from_features` takes them.
        maps: the backbone's of the image, [1, channels, h, w], each with its mask, bool [1, h, w], True on real pixels.
    """
    if not family_of(model.config).goes_on_from_last_map:
        return torch.cat([each.reshape(-1, 1, 1) for each, _ in maps])
    last_map, mask = maps[-1]
    if "encoder" not in parts:
        return last_map[0]
    stubs: dict[str, nn.Module] = {"backbone": _KeptMap(last_map.dtype)}
    if "decoder" not in parts:
        stubs["decoder"] = _NoDecoder()
    hidden = _with(model.model, stubs)(pixel_values=last_map.float(), pixel_mask=mask)
    last: Tensor = hidden.last_hidden_state
    if "decoder" not in parts:
        return last[0].T.reshape(-1, *mask.shape[1:])
    if hidden.intermediate_hidden_states is None:
        return last
    return torch.cat([hidden.intermediate_hidden_states[:, 0], last])


class _KeptMap(nn.Module):
    """Stands in the place of what makes maps: takes the last one for the image."""

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        # Laid out in memory as the backbone's own are, so that what follows takes the same way to the same bits.
        return [(pixel_values.to(self.dtype, memory_format=torch.channels_last), pixel_mask.bool())]


class _KeptPyramid(nn.Module):
    """Stands in the place of a backbone: takes all its maps, one behind the other, for the image."""

    def __init__(self, dtype: torch.dtype, shapes: Sequence[torch.Size]):
        super().__init__()
        self.dtype = dtype
        self.shapes = shapes

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        parts = pixel_values.split([shape.numel() for shape in self.shapes], dim=1)
        maps = [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return [
            (
                values.to(self.dtype, memory_format=torch.channels_last),
                # As the backbones themselves bring it to the size of a map.
                interpolate(pixel_mask[None].float(), size=values.shape[-2:]).bool()[0],
            )
            for values in maps
        ]


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
