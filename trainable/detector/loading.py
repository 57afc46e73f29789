"""The model of a trial: loading a detector for the names of a data set, and its image processor."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
)

from trainable.data.absence import LFS_POINTER, cause_at
from trainable.data.model_input import SQUARE_FORM, SizeRule
from trainable.data.resizing import ImageProcessor, alignment_of, signal_of, size_rule, with_input
from trainable.detector.class_head import is_kept
from trainable.detector.families.registry import FAMILIES, REFUSED, family_of
from trainable.detector.hub import name_and_revision
from trainable.detector.signal_models import detector_class, signal_of_config, with_signal
from trainable.model_signal import DIFFERENCE, SIGNALS
from trainable.recipe import Input
from trainable.sample import run_folder_fault
from trainable.text.shown import shown

_TIMM_RESNETS: dict[str, dict[str, Any]] = {
    "resnet18": {"depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512], "layer_type": "basic"},
    "resnet50": {"depths": [3, 4, 6, 3]},
    "resnet101": {"depths": [3, 4, 23, 3]},
}
_WITHOUT_TIMM = ("rt_detr", "rt_detr_v2", "d_fine")
"""Families whose backbone is transformers' own where their config does not speak of timm."""
_RARE = 0.01
"""The probability of a class that a new head of sigmoids begins with (arXiv 1708.02002)."""


class ModelError(ValueError):
    """The checkpoint that a user named cannot be used; the message says which rule it breaks."""


def load_model(
    checkpoint: str | Path, names: Sequence[str], seed: int = 0, signal: str | None = None
) -> PreTrainedModel:
    """Loads a detector whose class head fits `names`.

    Checkpoints that name a timm backbone (such as `facebook/detr-resnet-50`) are loaded without timm. The class head
    is kept where the checkpoint's own names are `names`, else replaced by a new one drawn from `seed`.

    Args:
        checkpoint: a folder made by `save_pretrained`, or a name on the Hugging Face hub, also as `NAME@REVISION`.
        names: class names of the data set, by class id.
        seed: of the new class head's weights.
        signal: what it is to be given of a pair, see `with_signal`; None leaves it as it is.

    Raises:
        ModelError: it is of no family that can be trained, cannot be read, lacks weights other than the class head's,
            or cannot be given the signal.
    """
    plain = read_config(checkpoint)
    config = _config_without_timm(plain, checkpoint)
    family = family_of(config)
    if signal not in (None, *family.signals):
        raise ModelError(f"model {checkpoint}: models of type {config.model_type!r} cannot be given {signal!r}")
    key_mapping = _timm_key_mapping(config) if _names_timm(plain) else None
    own_names = tuple(config.id2label[index] for index in sorted(config.id2label))
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    try:
        model, loading = detector_class(config).from_pretrained(
            **_source(checkpoint),
            config=config,
            key_mapping=key_mapping,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        why = _lfs_pointer_in(checkpoint) or f"its weights cannot be read: {error}"
        raise ModelError(f"model {checkpoint}: {why}") from None
    absent = sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])})
    if lost := [key for key in absent if family.part_of(key) != "class_head"]:
        shown = ", ".join(lost[:5]) + (", ..." if len(lost) > 5 else "")
        raise ModelError(f"model {checkpoint}: only the class head may be new, but {len(lost)} weights are: {shown}")
    if not is_kept(own_names, names) or absent:
        _new_class_head(model, seed)
    # The copy is saved under the same names wherever it comes from. A model is saved under those that it was loaded
    # from (transformers 5.23): where they were timm's, they no longer go with its config, and the saved model could not
    # be loaded; and a resumed trial would not write the same bytes.
    return with_signal(model, signal or signal_of_config(config))


def load_processor(
    checkpoint: str | Path, image_size: int | None = None, pair_input: Input | None = None
) -> ImageProcessor:
    """The checkpoint's image processor on its Pillow back end, so that an installed torchvision changes no number.

    Args:
        checkpoint: folder or hub name.
        image_size: pixels to which it is to bring the shorter edge; None leaves it as it is.
        pair_input: what it is to make of pairs, see `trainable.data.resizing`; None leaves it as it is.

    Raises:
        ModelError: the checkpoint is of no family that can be trained, has none that can be read, or its images would
            not be of a size that the family takes.
    """
    family = FAMILIES[read_config(checkpoint)["model_type"]]
    try:
        processor = AutoImageProcessor.from_pretrained(**_source(checkpoint), backend="pil")
        rule = size_rule(processor)
        if image_size is not None:
            size = rule.with_shorter_edge(image_size).settings
            source = _source(checkpoint)
            processor = AutoImageProcessor.from_pretrained(**source, backend="pil", do_resize=True, size=size)
        asked = pair_input or Input(alignment_of(processor), signal_of(processor))
        if divisor := family.sides_divide_by:
            _hold_square(size_rule(processor), divisor)
        return with_input(processor, asked.alignment, asked.signal)
    except (OSError, ValueError) as error:
        raise ModelError(f"model {checkpoint}: its image processor cannot be read: {error}") from None


def read_config(checkpoint: str | Path) -> dict[str, Any]:
    """The checkpoint's config as a plain dict.

    Raises:
        ModelError: there is none, or it is of a kind that cannot be trained, or is given what nobody knows.
    """
    try:
        plain: dict[str, Any] = PreTrainedConfig.get_config_dict(**_source(checkpoint))[0]
    except (OSError, ValueError) as error:
        if why := _lfs_pointer_in(checkpoint):
            raise ModelError(f"model {checkpoint}: {why}") from None
        raise ModelError(
            f"model {checkpoint}: neither a folder with a config.json nor a checkpoint of the Hugging Face hub that "
            f"is cached or can be fetched: {str(error).splitlines()[0]}"
        ) from None
    kind = plain.get("model_type")
    if kind is None:
        why = run_folder_fault(checkpoint) or "there is no config.json with a model_type in it"
        raise ModelError(f"model {checkpoint}: {why}")
    if kind not in FAMILIES:
        why = f"; {REFUSED[kind]}" if kind in REFUSED else ""
        raise ModelError(
            f"model {checkpoint}: only models of type {', '.join(sorted(FAMILIES))} can be trained, this one is "
            f"{kind!r}{why}"
        )
    if (signal := plain.get("signal", DIFFERENCE)) not in SIGNALS:
        raise ModelError(f"model {checkpoint}: its signal must be one of {', '.join(SIGNALS)}, got {shown(signal)}")
    return plain


def model_config(checkpoint: str | Path) -> PreTrainedConfig:
    """A checkpoint's configuration, of a backbone that needs no timm, as its family has it trained.

    Raises:
        ModelError: see `read_config`.
    """
    return _config_without_timm(read_config(checkpoint), checkpoint)


def class_names(checkpoint: str | Path) -> tuple[str, ...]:
    """What the checkpoint's class head tells apart, by class id.

    Raises:
        ModelError: as `read_config`.
    """
    id2label = model_config(checkpoint).id2label
    return tuple(id2label[index] for index in sorted(id2label))


def _lfs_pointer_in(checkpoint: str | Path) -> str:
    """Which file of a checkpoint is not the file itself, as in a clone made without Git LFS; empty where none is."""
    for file in sorted(Path(checkpoint).glob("*")) if Path(checkpoint).is_dir() else []:
        if cause_at(file) is LFS_POINTER:
            return f"{file.name} {LFS_POINTER.kind}; {LFS_POINTER.advice}"
    return ""


def _source(checkpoint: str | Path) -> dict[str, Any]:
    """What transformers is told to load."""
    name, revision = name_and_revision(checkpoint)
    source = {"pretrained_model_name_or_path": name}
    return source | {"revision": revision} if revision else source


def _hold_square(rule: SizeRule, divisor: int) -> None:
    """Holds a processor to make all images of one size whose sides have this divisor.

    Raises:
        ValueError: it does not.
    """
    if rule.form != SQUARE_FORM or any(side % divisor for side in rule.values):
        raise ValueError(
            f"this kind of model takes images of one size alone, height and width divisible by {divisor}, but its size "
            f"is {rule.settings or 'that of each image'}"
        )


def _names_timm(plain: dict[str, Any]) -> bool:
    backbone = plain.get("backbone_config") or {}
    by_name = plain.get("use_timm_backbone", not backbone and plain["model_type"] not in _WITHOUT_TIMM)
    return bool(by_name) or backbone.get("model_type") == "timm_backbone"


def _config_without_timm(plain: dict[str, Any], checkpoint: str | Path) -> PreTrainedConfig:
    """The config with transformers' own ResNet in the place of timm's, as its family has it trained.

    It is edited before it is parsed: parsing a config that names timm imports timm, and that imports torchvision.
    """
    if _names_timm(plain):
        plain = _with_own_resnet(plain, checkpoint)
    config: PreTrainedConfig = AutoConfig.for_model(**plain)
    for name, value in family_of(config).settings.items():
        setattr(config, name, value)
    return config


def _with_own_resnet(plain: dict[str, Any], checkpoint: str | Path) -> dict[str, Any]:
    timm_config = plain.get("backbone_config") or {}
    name = timm_config.get("backbone") or plain.get("backbone") or "resnet50"
    if name not in _TIMM_RESNETS or plain.get("dilation"):
        dilation = " with dilation" if plain.get("dilation") else ""
        raise ModelError(
            f"model {checkpoint}: its timm backbone is {name!r}{dilation}; of timm's, only "
            f"{', '.join(_TIMM_RESNETS)} without dilation can be loaded"
        )
    dropped = ("backbone", "use_timm_backbone", "use_pretrained_backbone", "backbone_kwargs", "backbone_config")
    kept = {key: value for key, value in plain.items() if key not in dropped}
    several = plain["model_type"] == "deformable_detr" and plain.get("num_feature_levels", 4) > 1
    stages = ["stage2", "stage3", "stage4"] if several else ["stage4"]
    backbone = ResNetConfig(**_TIMM_RESNETS[name], out_features=stages)
    return {**kept, "use_timm_backbone": False, "use_pretrained_backbone": False, "backbone_config": backbone.to_dict()}


def _timm_key_mapping(config: Any) -> dict[str, str]:
    """Patterns from timm's names of a ResNet's weights to transformers' names."""
    backbone = config.backbone_config
    prefix = "backbone.conv_encoder.model."
    pattern = re.escape(prefix)
    mapping = {
        rf"{pattern}conv1\.": f"{prefix}embedder.embedder.convolution.",
        rf"{pattern}bn1\.": f"{prefix}embedder.embedder.normalization.",
    }
    for stage in range(len(backbone.depths)):
        layer, target = rf"{pattern}layer{stage + 1}\.(\d+)\.", rf"{prefix}encoder.stages.{stage}.layers.\1."
        for step in range(3 if backbone.layer_type == "bottleneck" else 2):
            mapping[rf"{layer}conv{step + 1}\."] = f"{target}layer.{step}.convolution."
            mapping[rf"{layer}bn{step + 1}\."] = f"{target}layer.{step}.normalization."
        mapping[rf"{layer}downsample\.0\."] = f"{target}shortcut.convolution."
        mapping[rf"{layer}downsample\.1\."] = f"{target}shortcut.normalization."
    return mapping


def _new_class_head(model: PreTrainedModel, seed: int) -> None:
    """Draws the class head anew, as transformers initialises it: without "no object", every class begins as rare."""
    family = family_of(model.config)
    classes = family.criterion(model.config).classes
    generator = torch.Generator().manual_seed(seed)
    std = getattr(model.config, "init_std", None) or model.config.initializer_range
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if family.part_of(name) != "class_head":
                continue
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
            else:
                nn.init.constant_(parameter, 0.0 if classes.extra_classes else -math.log((1 - _RARE) / _RARE))
