"""RT-DETR (arXiv 2304.08069) and its second version (2407.17140): convolutions beside the encoder's one layer, heads in
every layer of the decoder, varifocal loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel

from trainable.detector.criterion import Criterion, FocalLoss, VarifocalLoss
from trainable.detector.families.family import Family, Predictions


class RtDetr(Family):
    """RT-DETR. It knows no `pixel_mask`, so that images are squashed to one size and never padded."""

    model_types: tuple[str, ...] = ("rt_detr", "rt_detr_v2")
    title = "an RT-DETR"
    parts: ClassVar = {
        "backbone": ("model.backbone",),
        "encoder": ("model.encoder_input_proj", "model.encoder"),
        "decoder": ("model.decoder_input_proj", "model.enc_output", "model.weight_embedding", "model.decoder"),
        "box_head": ("model.enc_bbox_head", "model.decoder.bbox_embed", "bbox_embed"),
        "class_head": ("model.enc_score_head", "model.decoder.class_embed", "class_embed"),
    }
    # Denoising queries are as many as the batch lets them be; the sizes are those that images once had.
    settings: ClassVar = {"num_denoising": 0, "anchor_image_size": None, "eval_size": None}
    sides_divide_by = 32
    goes_on_from_last_map = False

    def criterion(self, config: Any) -> Criterion:
        """Varifocal loss."""
        matching = {"matching_alpha": config.matcher_alpha, "matching_gamma": config.matcher_gamma}
        classes: FocalLoss = VarifocalLoss(config.focal_loss_alpha, config.focal_loss_gamma, **matching)
        return Criterion(
            config.num_queries,
            classes,
            class_cost=config.matcher_class_cost,
            bbox_cost=config.matcher_bbox_cost,
            giou_cost=config.matcher_giou_cost,
            bbox_weight=config.weight_loss_bbox,
            giou_weight=config.weight_loss_giou,
            class_weight=config.weight_loss_vfl,
        )

    def predictions(self, model: PreTrainedModel, inputs: Mapping[str, Any], auxiliary: bool) -> Predictions:
        """Those of the decoder's layers, and first of all the encoder's proposals."""
        hidden = model.model(pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"])
        logits, boxes = (
            layers.transpose(0, 1).float()
            for layers in (hidden.intermediate_logits, hidden.intermediate_reference_points)
        )
        if not (auxiliary and model.config.auxiliary_loss):
            return Predictions(logits[-1:], boxes[-1:])
        return Predictions(
            torch.cat([hidden.enc_topk_logits.float()[None], logits]),
            torch.cat([hidden.enc_topk_bboxes.float()[None], boxes]),
        )

    def encoder_numbers(self, config: Any, cells: Sequence[int]) -> int:
        """The last map goes through the encoder's layers, all of them through the convolutions that join them."""
        width = config.encoder_hidden_dim
        layers = config.encoder_layers * cells[-1] * (12 * width + config.encoder_ffn_dim)
        return int(layers + sum(cells) * 60 * width)
