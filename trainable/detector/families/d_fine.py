"""D-FINE (arXiv 2410.13842): RT-DETR whose boxes are told as distributions of where their sides lie."""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel
from transformers.image_transforms import center_to_corners_format
from transformers.loss.loss_d_fine import bbox2distance

from trainable.detector.families.family import Predictions
from trainable.detector.families.rt_detr import RtDetr


class DFine(RtDetr):
    """D-FINE, without its distillation from the last layer to those before it, whose scale depends on the batch."""

    model_types = ("d_fine",)
    title = "a D-FINE"
    settings: ClassVar = {**RtDetr.settings, "weight_loss_ddf": 0.0}
    constants = ("model.decoder.reg_scale", "model.decoder.up")

    def predictions(self, model: PreTrainedModel, inputs: Mapping[str, Any], auxiliary: bool) -> Predictions:
        """As RT-DETR's, with the corners of the decoder's layers; boxes end at the image's edges.

        The decoder gives its layers before the last only in train mode, be it frozen or not.
        """
        decoder = model.model.decoder
        before, decoder.training = decoder.training, auxiliary
        try:
            hidden = model.model(pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"])
        finally:
            decoder.training = before
        logits, boxes, corners, references = (
            layers.transpose(0, 1).float()
            for layers in (
                hidden.intermediate_logits,
                hidden.intermediate_reference_points.clamp(min=0, max=1),
                hidden.intermediate_predicted_corners,
                hidden.initial_reference_points,
            )
        )
        if not (auxiliary and model.config.auxiliary_loss):
            return Predictions(logits[-1:], boxes[-1:])
        return Predictions(
            torch.cat([hidden.enc_topk_logits.float()[None], logits]),
            torch.cat([hidden.enc_topk_bboxes.clamp(min=0, max=1).float()[None], boxes]),
            corners,
            references,
        )

    def corner_terms(
        self, config: Any, predictions: Predictions, taking: Tensor, truths: Tensor, ious: Tensor
    ) -> Tensor:
        """The fine-grained localisation loss, weighted by the IoU."""
        assert predictions.corners is not None and predictions.references_cxcywh_normalised is not None
        bins = config.max_num_bins + 1
        corners = predictions.corners.flatten(0, 2)[taking].reshape(-1, bins)  # [layers * matched * 4, bins]
        references = predictions.references_cxcywh_normalised.flatten(0, 2)[taking].flatten(0, 1)
        with torch.no_grad():
            up = corners.new_tensor([config.up])
            wanted = center_to_corners_format(truths.flatten(0, 1))
            places, right, left = bbox2distance(references, wanted, config.max_num_bins, config.reg_scale, up)
            below = places.long()
        entropies = cross_entropy(corners, below, reduction="none") * left
        entropies = entropies + cross_entropy(corners, below + 1, reduction="none") * right
        weighted = entropies.view(*taking.shape, 4) * ious[..., None]
        terms: Tensor = config.weight_loss_fgl * weighted.sum((1, 2))
        return terms
