"""The model of a trial: loading a DETR for the names of a data set, and the parts it is frozen by."""

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
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessorPil,
    PreTrainedConfig,
    ResNetConfig,
)

from trainable.data.absence import LFS_POINTER, cause_at
from trainable.data.resizing import alignment_of, signal_of, size_rule, with_input
from trainable.detector.class_head import is_kept
from trainable.detector.hub import name_and_revision
from trainable.detector.parts import part_of
from trainable.detector.signal_models import detector_class, signal_of_config, with_signal
from trainable.model_signal import DIFFERENCE, SIGNALS
from trainable.recipe import Input
from trainable.sample import run_folder_fault
from trainable.text.shown import shown

_TIMM_DEPTHS = {"resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3]}


class ModelError(ValueError):
    """The checkpoint that a user named cannot be used; the message says which rule it breaks."""


def load_model(
    checkpoint: str | Path, names: Sequence[str], seed: int = 0, signal: str | None = None
) -> DetrForObjectDetection:
    """Loads a DETR whose class head fits `names`.

    Checkpoints that name a timm backbone (such as `facebook/detr-resnet-50`) are loaded without timm. The class head
    is kept where the checkpoint's own names are `names`, else replaced by a new one drawn from `seed`.

    Args:
        checkpoint: a folder made by `save_pretrained`, or a name on the Hugging Face hub, also as `NAME@REVISION`.
        names: class names of the data set, by class id.
        seed: of the new class head's weights.
        signal: what it is to be given of a pair, see `with_signal`; None leaves it as it is.

    Raises:
        ModelError: it is no DETR, cannot be read, or lacks weights other than the class head's.
    """
    plain = read_config(checkpoint)
    config = _config_without_timm(plain, checkpoint)
    key_mapping = _timm_key_mapping(config.backbone_config.depths) if _names_timm(plain) else None
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
    if lost := [key for key in absent if part_of(key) != "class_head"]:
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
) -> DetrImageProcessorPil:
    """The checkpoint's image processor on its Pillow back end, so that an installed torchvision changes no number.

    Args:
        checkpoint: folder or hub name.
        image_size: pixels to which it is to bring the shorter edge; None leaves it as it is.
        pair_input: what it is to make of pairs, see `trainable.data.resizing`; None leaves it as it is.

    Raises:
        ModelError: the checkpoint is no DETR, or has none that can be read.
    """
    read_config(checkpoint)
    try:
        processor = AutoImageProcessor.from_pretrained(**_source(checkpoint), backend="pil")
        rule = size_rule(processor)
        if image_size is not None:
            size = rule.with_shorter_edge(image_size).settings
            source = _source(checkpoint)
            processor = AutoImageProcessor.from_pretrained(**source, backend="pil", do_resize=True, size=size)
        asked = pair_input or Input(alignment_of(processor), signal_of(processor))
        return with_input(processor, asked.alignment, asked.signal)
    except (OSError, ValueError) as error:
        raise ModelError(f"model {checkpoint}: its image processor cannot be read: {error}") from None


def read_config(checkpoint: str | Path) -> dict[str, Any]:
    """The checkpoint's config as a plain dict.

    Raises:
        ModelError: there is none, or it is of another kind than `detr`, or is given what nobody knows.
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
    if kind != "detr":
        raise ModelError(
            f"model {checkpoint}: only models of type 'detr' can be trained, this one is {kind!r}; its heads and its "
            "loss differ"
        )
    if (signal := plain.get("signal", DIFFERENCE)) not in SIGNALS:
        raise ModelError(f"model {checkpoint}: its signal must be one of {', '.join(SIGNALS)}, got {shown(signal)}")
    return plain


def model_config(checkpoint: str | Path) -> DetrConfig:
    """A checkpoint's configuration, of a backbone that needs no timm.

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


def _names_timm(plain: dict[str, Any]) -> bool:
    backbone = plain.get("backbone_config") or {}
    return bool(plain.get("use_timm_backbone", not backbone)) or backbone.get("model_type") == "timm_backbone"


def _config_without_timm(plain: dict[str, Any], checkpoint: str | Path) -> DetrConfig:
    """The config with transformers' own ResNet in the place of timm's.

    It is edited before it is parsed: parsing a config that names timm imports timm, and that imports torchvision.
    """
    if not _names_timm(plain):
        return AutoConfig.for_model(**plain)
    timm_config = plain.get("backbone_config") or {}
    name = timm_config.get("backbone") or plain.get("backbone") or "resnet50"
    if name not in _TIMM_DEPTHS or plain.get("dilation"):
        dilation = " with dilation" if plain.get("dilation") else ""
        raise ModelError(
            f"model {checkpoint}: its timm backbone is {name!r}{dilation}; of timm's, only "
            f"{' and '.join(_TIMM_DEPTHS)} without dilation can be loaded"
        )
    dropped = ("backbone", "use_timm_backbone", "use_pretrained_backbone", "backbone_kwargs", "backbone_config")
    kept = {key: value for key, value in plain.items() if key not in dropped}
    backbone = ResNetConfig(depths=_TIMM_DEPTHS[name], out_features=["stage4"])
    return DetrConfig.from_dict({**kept, "backbone_config": backbone.to_dict()})


def _timm_key_mapping(depths: Sequence[int]) -> dict[str, str]:
    """Patterns from timm's names of a bottleneck ResNet's weights to transformers' names."""
    prefix = "backbone.conv_encoder.model."
    pattern = re.escape(prefix)
    mapping = {
        rf"{pattern}conv1\.": f"{prefix}embedder.embedder.convolution.",
        rf"{pattern}bn1\.": f"{prefix}embedder.embedder.normalization.",
    }
    for stage in range(len(depths)):
        layer, target = rf"{pattern}layer{stage + 1}\.(\d+)\.", rf"{prefix}encoder.stages.{stage}.layers.\1."
        for step in range(3):
            mapping[rf"{layer}conv{step + 1}\."] = f"{target}layer.{step}.convolution."
            mapping[rf"{layer}bn{step + 1}\."] = f"{target}layer.{step}.normalization."
        mapping[rf"{layer}downsample\.0\."] = f"{target}shortcut.convolution."
        mapping[rf"{layer}downsample\.1\."] = f"{target}shortcut.normalization."
    return mapping


def _new_class_head(model: DetrForObjectDetection, seed: int) -> None:
    """Draws the class head anew, as transformers initialises linear layers."""
    head = model.class_labels_classifier
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(torch.randn(head.weight.shape, generator=generator) * model.config.init_std)
        nn.init.zeros_(head.bias)
