"""Deformable DETR (arXiv 2010.04159): attention to a few points of several maps, in one stage or two; focal loss."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from transformers import PreTrainedModel

from trainable.detector.criterion import Criterion, FocalLoss
from trainable.detector.families.conditional_detr import inverse_sigmoid, moved
from trainable.detector.families.family import Family, Predictions, box_costs


class DeformableDetr(Family):
    """Deformable DETR; its attention in pure torch."""

    model_types = ("deformable_detr",)
    title = "a Deformable DETR"
    goes_on_from_last_map = False
    parts: ClassVar = {
        "backbone": ("model.backbone",),
        "encoder": ("model.input_proj", "model.position_embedding", "model.level_embed", "model.encoder"),
        "decoder": (
            *("model.query_position_embeddings", "model.reference_points", "model.decoder"),
            *("model.enc_output", "model.enc_output_norm", "model.pos_trans", "model.pos_trans_norm"),
        ),
        "box_head": ("bbox_embed", "model.decoder.bbox_embed"),
        "class_head": ("class_embed", "model.decoder.class_embed"),
    }

    def criterion(self, config: Any) -> Criterion:
        """Focal loss; transformers weighs it 1, whatever the config's coefficient."""
        queries = config.two_stage_num_proposals if config.two_stage else config.num_queries
        return Criterion(queries, FocalLoss(config.focal_alpha, 2.0), **box_costs(config))

    def predictions(self, model: PreTrainedModel, inputs: Mapping[str, Any], auxiliary: bool) -> Predictions:
        """Each layer's heads; boxes are told from the reference points that it was given."""
        hidden = model.model(pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"])
        states = hidden.intermediate_hidden_states  # [batch, layers, queries, d_model]
        last = states.shape[1] - 1
        logits, boxes = [], []
        for layer in range(0 if auxiliary and model.config.auxiliary_loss else last, last + 1):
            given = hidden.intermediate_reference_points[:, layer - 1] if layer else hidden.init_reference_points
            logits.append(model.class_embed[layer](states[:, layer]))
            boxes.append(moved(model.bbox_embed[layer](states[:, layer]), inverse_sigmoid(given)))
        return Predictions(torch.stack(logits).float(), torch.stack(boxes).float().sigmoid())

    def encoder_numbers(self, config: Any, cells: Sequence[int]) -> int:
        """As DETR's, of the cells of all maps, those that are made of the last one among them; and what each cell
        attends to, which is a vector and its place and weights for each point.
        """
        more = sum(cells[-1] // 4**step for step in range(1, config.num_feature_levels - len(cells) + 1))
        points = config.num_feature_levels * config.encoder_n_points
        attended = points * (config.d_model + 16 * config.encoder_attention_heads)
        width = 14 * config.d_model + config.encoder_ffn_dim + attended
        return int(config.encoder_layers * (sum(cells) + more) * width)
