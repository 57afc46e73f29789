"""DAB-DETR (arXiv 2201.12329): its queries are boxes, which every layer moves; focal loss."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PreTrainedModel

from trainable.detector.criterion import Criterion, FocalLoss
from trainable.detector.families.conditional_detr import inverse_sigmoid, moved
from trainable.detector.families.family import PARTS_OF_DETR, Family, Predictions, box_costs


class DabDetr(Family):
    """DAB-DETR."""

    model_types = ("dab-detr",)
    title = "a DAB-DETR"
    maps = "model.backbone.conv_encoder"
    parts: ClassVar = {
        **PARTS_OF_DETR,
        "decoder": ("model.query_refpoint_embeddings", "model.patterns", "model.decoder"),
        "box_head": ("bbox_predictor", "model.decoder.bbox_embed"),
        "class_head": ("class_embed",),
    }

    def criterion(self, config: Any) -> Criterion:
        """Focal loss; transformers weighs it 1, whatever the config's coefficient."""
        return Criterion(config.num_queries, FocalLoss(config.focal_alpha, 2.0), **box_costs(config))

    def width(self, config: Any) -> int:
        """Its config has another name for it."""
        return int(config.hidden_size)

    def predictions(self, model: PreTrainedModel, inputs: Mapping[str, Any], auxiliary: bool) -> Predictions:
        """Boxes are told from those that the layer before has made."""
        hidden = model.model(pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"], return_dict=True)
        first = 0 if auxiliary and model.config.auxiliary_loss else -1
        states = hidden.intermediate_hidden_states[first:]
        references = inverse_sigmoid(hidden.reference_points[first:])
        boxes = moved(model.bbox_predictor(states), references)
        return Predictions(model.class_embed(states).float(), boxes.float().sigmoid())
