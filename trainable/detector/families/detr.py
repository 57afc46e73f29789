"""DETR (arXiv 2005.12872) and Table Transformer, which is DETR with its norms in front."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from trainable.detector.criterion import Criterion, SoftmaxLoss
from trainable.detector.families.family import PARTS_OF_DETR, Family, Predictions, box_costs
from trainable.model_signal import SIGNALS


class Detr(Family):
    """DETR."""

    model_types = ("detr",)
    title = "a DETR"
    parts = PARTS_OF_DETR
    cacheable: tuple[str, ...] = ("backbone", "encoder", "decoder")
    signals: tuple[str, ...] = SIGNALS

    def criterion(self, config: Any) -> Criterion:
        """Cross entropy with "no object", which weighs less."""
        return Criterion(config.num_queries, SoftmaxLoss(config.eos_coefficient), **box_costs(config))

    def predictions(self, model: PreTrainedModel, inputs: Mapping[str, Any], auxiliary: bool) -> Predictions:
        """Both heads on the states of the decoder's layers."""
        hidden = model.model(pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"])
        states = hidden.last_hidden_state[None]  # [layers, batch, queries, d_model]
        if auxiliary and model.config.auxiliary_loss:
            states = torch.cat([hidden.intermediate_hidden_states[:-1], states])
        logits, boxes = model.class_labels_classifier(states), model.bbox_predictor(states)
        return Predictions(logits.float(), boxes.float().sigmoid())


class TableTransformer(Detr):
    """Table Transformer: its modules bear DETR's names."""

    model_types = ("table-transformer",)
    title = "a Table Transformer"
    cacheable = Family.cacheable
    maps = "model.backbone.conv_encoder"
    signals = Family.signals
