"""Untrained detectors of every family, of some ten thousand weights, and their image processors."""

from pathlib import Path

import torch
from transformers import (
    MODEL_FOR_OBJECT_DETECTION_MAPPING,
    ConditionalDetrConfig,
    ConditionalDetrImageProcessorPil,
    DabDetrConfig,
    DeformableDetrConfig,
    DeformableDetrImageProcessorPil,
    DetrConfig,
    DetrImageProcessorPil,
    DFineConfig,
    HGNetV2Config,
    ResNetConfig,
    RTDetrConfig,
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
    RTDetrV2Config,
    TableTransformerConfig,
)

QUERIES = 6
SQUARE = 64
STAGES = ["stage2", "stage3", "stage4"]
CHANNELS = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 24], "depths": [1, 1, 1, 1], "layer_type": "basic"}
LAYERS = {
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
}
WIDTH = {"d_model": 16, "num_queries": QUERIES, **LAYERS}
WIDE = {**WIDTH, "d_model": 64}
"""Deformable DETR norms 32 groups of channels."""
HYBRID = {
    **WIDTH,
    "encoder_in_channels": [8, 16, 24],
    "decoder_in_channels": [16, 16, 16],
    "encoder_hidden_dim": 16,
    "anchor_image_size": None,
}


def _after(backbone):
    return {"backbone_config": backbone, "use_timm_backbone": False, "use_pretrained_backbone": False}


def _resnet(*stages):
    return _after(ResNetConfig(**CHANNELS, out_features=list(stages)))


def _hgnet():
    return HGNetV2Config(
        stem_channels=[3, 8, 8],
        hidden_sizes=[8, 8, 16, 24],
        stage_in_channels=[8, 8, 8, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 8, 16, 24],
        stage_num_blocks=[1, 1, 1, 1],
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 5, 5],
        stage_numb_of_layers=[1, 1, 1, 1],
        out_features=STAGES,
    )


CONFIGS = {
    "detr": lambda: DetrConfig(**_resnet("stage4"), **WIDTH),
    "table-transformer": lambda: TableTransformerConfig(**_resnet("stage4"), **WIDTH),
    "conditional_detr": lambda: ConditionalDetrConfig(**_resnet("stage4"), **WIDTH),
    "dab-detr": lambda: DabDetrConfig(**_resnet("stage4"), hidden_size=16, num_queries=QUERIES, **LAYERS),
    "deformable_detr": lambda: DeformableDetrConfig(**_resnet(*STAGES), **WIDE),
    "deformable_detr in two stages": lambda: DeformableDetrConfig(
        **_resnet(*STAGES), **WIDE, two_stage=True, with_box_refine=True, two_stage_num_proposals=QUERIES
    ),
    "rt_detr": lambda: RTDetrConfig(backbone_config=RTDetrResNetConfig(**CHANNELS, out_features=STAGES), **HYBRID),
    "rt_detr_v2": lambda: RTDetrV2Config(backbone_config=RTDetrResNetConfig(**CHANNELS, out_features=STAGES), **HYBRID),
    "d_fine": lambda: DFineConfig(backbone_config=_hgnet(), **HYBRID, hidden_size=16, decoder_n_points=[4, 4, 4]),
}
"""By their model type, and once more where that has two forms."""
SQUARE_KINDS = ("rt_detr", "rt_detr_v2", "d_fine")


def _processor(kind):
    if kind in SQUARE_KINDS:
        return RTDetrImageProcessorPil(size={"height": SQUARE, "width": SQUARE})
    size = {"shortest_edge": 48, "longest_edge": 64}
    if kind in ("conditional_detr", "dab-detr"):
        return ConditionalDetrImageProcessorPil(size=size)
    if kind.startswith("deformable"):
        return DeformableDetrImageProcessorPil(size=size)
    return DetrImageProcessorPil(size=size)


def _take_statistics(model):
    """Has batch norm see noise, so that it has the statistics that it would have kept of training."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    model.train()
    model(torch.randn(8, 3, 2 * SQUARE, 2 * SQUARE))
    model.eval()


def save_tiny_detector(kind: str, folder: Path, names=("square", "circle"), auxiliary=True, dropout=0.0) -> Path:
    """Writes a checkpoint of one of `CONFIGS`; returns its folder."""
    torch.manual_seed(0)
    config = CONFIGS[kind]()
    config.auxiliary_loss = auxiliary
    config.dropout = config.attention_dropout = dropout
    config.id2label = dict(enumerate(names))
    config.label2id = {name: index for index, name in enumerate(names)}
    model = MODEL_FOR_OBJECT_DETECTION_MAPPING[type(config)](config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # As they are initialised, so few and narrow layers hand nothing on: all scores would tie.
            if parameter.ndim > 1 and "embed" not in name and "sampling_offsets" not in name:
                torch.nn.init.xavier_normal_(parameter)
        _take_statistics(model)
    model.save_pretrained(folder)
    _processor(kind).save_pretrained(folder)
    return folder


def labels_of(counts):
    """Labels of images with so many boxes each, of two classes."""
    generator = torch.Generator().manual_seed(3)
    return [
        {
            "class_labels": torch.randint(0, 2, (count,), generator=generator),
            "boxes": 0.2 + 0.3 * torch.rand(count, 4, generator=generator),
        }
        for count in counts
    ]


def kept_for_backward(model, compute):
    """Bytes that `compute`, a forward pass, keeps beside the model itself."""
    own = {value.untyped_storage().data_ptr() for value in model.state_dict(keep_vars=True).values()}
    kept = {}

    def keep(value):
        if (storage := value.untyped_storage()).data_ptr() not in own:
            kept[storage.data_ptr()] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        compute()
    return sum(value.untyped_storage().nbytes() for value in kept.values())
