"""Conditional DETR (arXiv 2108.06152): DETR whose queries attend from reference points; focal loss."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainable.detector.criterion import Criterion, FocalLoss
from trainable.detector.families.family import PARTS_OF_DETR, Family, Predictions, box_costs


class ConditionalDetr(Family):
    """Conditional DETR."""

    model_types = ("conditional_detr",)
    title = "a Conditional DETR"
    parts = PARTS_OF_DETR

    def criterion(self, config: Any) -> Criterion:
        """Focal loss; transformers weighs it 1, whatever the config's coefficient."""
        return Criterion(config.num_queries, FocalLoss(config.focal_alpha, 2.0), **box_costs(config))

    def predictions(self, model: PreTrainedModel, inputs: Mapping[str, Any], auxiliary: bool) -> Predictions:
        """Boxes are told from the queries' reference points."""
        hidden = model.model(pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"])
        states = hidden.last_hidden_state[None]
        if auxiliary and model.config.auxiliary_loss:
            states = torch.cat([hidden.intermediate_hidden_states[:-1], states])
        references = inverse_sigmoid(hidden.reference_points).transpose(0, 1)  # [batch or 1, queries, 2]
        return Predictions(
            model.class_labels_classifier(states).float(),
            moved(model.bbox_predictor(states), references).float().sigmoid(),
        )


def moved(boxes: Tensor, references: Tensor) -> Tensor:
    """Boxes before the sigmoid, told from reference points or boxes, [..., 2 or 4], before it."""
    known = references.shape[-1]
    return torch.cat([boxes[..., :known] + references, boxes[..., known:]], dim=-1)


def inverse_sigmoid(values: Tensor, least: float = 1e-5) -> Tensor:
    """Logits of values in [0, 1], at least `least` away from both ends, as transformers takes them."""
    values = values.clamp(min=0, max=1)
    return torch.log(values.clamp(min=least) / (1 - values).clamp(min=least))
