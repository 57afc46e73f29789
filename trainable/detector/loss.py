"""DETR's loss with its normalisers in our own hands.

DETR divides its box losses by the number of labelled boxes and its cross entropy by the sum of class weights, both of
*the batch*. So the mean over batches is not the loss of their union: evaluation would move with the batch size
(huggingface/transformers#28893), and accumulated gradients would not be those of the large batch. Here the terms of
a batch are sums again once multiplied by the batch's own normalisers (`LossNormalisers`); divided by those of the
optimizer step, or of the whole validation set, they are exact.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DetrConfig, DetrForObjectDetection


@dataclass(frozen=True)
class LossNormalisers:
    """What DETR divides by: a batch's, an optimizer step's, or a whole data set's."""

    class_weight: float
    """Sum of the class weights of all queries: 1 for a query that has a label, `eos_coefficient` for the others."""
    boxes: int
    """Number of labelled boxes, at least 1."""


@dataclass(frozen=True)
class Forward:
    """What one batch gives.

    Attributes:
        logits: float32 [batch, queries, classes + 1], the last class is "no object".
        boxes_cxcywh_normalised: float32 [batch, queries, 4].
        terms: DETR's loss terms, each normalised by this batch's totals; those of auxiliary decoder layers end in
            the layer's number.
    """

    logits: Tensor
    boxes_cxcywh_normalised: Tensor
    terms: dict[str, Tensor]


def loss_normalisers(labels: Sequence[Mapping[str, Tensor]], config: DetrConfig) -> LossNormalisers:
    """The normalisers of the images whose `labels` these are; each holds `class_labels` of shape [n]."""
    counts = [len(label["class_labels"]) for label in labels]
    matched = sum(min(config.num_queries, count) for count in counts)
    unmatched = config.num_queries * len(counts) - matched
    return LossNormalisers(matched + config.eos_coefficient * unmatched, max(sum(counts), 1))


def forward(model: DetrForObjectDetection, inputs: Mapping[str, Any]) -> Forward:
    """One batch through the model and the loss; matching and loss are computed in float32 whatever the autocast.

    Args:
        model: the DETR; its modules are called one by one, so that non-finite outputs are met before the matcher.
        inputs: `pixel_values` [batch, 3, height, width], `pixel_mask` [batch, height, width] (1 on real pixels),
            `labels` (dicts of `class_labels` [n] and `boxes` [n, 4], cxcywh normalised).

    Raises:
        FloatingPointError: the model's outputs are not finite.
    """
    hidden = model.model(pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"])
    logits, boxes = _heads(model, hidden.last_hidden_state)
    auxiliary: tuple[Tensor | None, Tensor | None] = (None, None)
    if model.config.auxiliary_loss:
        auxiliary = _heads(model, hidden.intermediate_hidden_states)
    if not (torch.isfinite(logits).all() and torch.isfinite(boxes).all()):
        raise FloatingPointError("the model's outputs are not finite")
    with torch.autocast(logits.device.type, enabled=False):
        _, terms, _ = model.loss_function(logits, inputs["labels"], logits.device, boxes, model.config, *auxiliary)
    return Forward(logits, boxes, terms)


def scaled_loss(
    terms: Mapping[str, Tensor], batch: LossNormalisers, whole: LossNormalisers, config: DetrConfig
) -> Tensor:
    """The share of a batch in the loss of the `whole` it belongs to; summed over the whole's batches it is exact.

    Args:
        terms: loss terms normalised by `batch`, auxiliary ones included.
        batch: the batch's own totals.
        whole: those of all batches of the optimizer step.
        config: holds the weights of the box losses.
    """
    loss = torch.zeros((), device=next(iter(terms.values())).device)
    for name, term in terms.items():
        if name.startswith("loss_ce"):
            loss = loss + term * (batch.class_weight / whole.class_weight)
        elif name.startswith("loss_bbox"):
            loss = loss + config.bbox_loss_coefficient * term * (batch.boxes / whole.boxes)
        elif name.startswith("loss_giou"):
            loss = loss + config.giou_loss_coefficient * term * (batch.boxes / whole.boxes)
    return loss


@dataclass
class LossAccumulator:
    """Sums over a data set in float64, divided once: the loss of the whole set taken as one batch.

    Only the last decoder layer counts, since the detections come from it; so `loss` is the weighted sum of its three
    terms, and means the same with and without auxiliary losses.
    """

    config: DetrConfig
    cross_entropy: float = 0.0
    bbox: float = 0.0
    giou: float = 0.0
    images: int = 0
    matched: int = 0
    boxes: int = 0

    def add(self, terms: Mapping[str, Tensor], labels: Sequence[Mapping[str, Tensor]]) -> None:
        """Adds a batch: its loss terms and the labels that they come from."""
        totals = loss_normalisers(labels, self.config)
        self.cross_entropy += terms["loss_ce"].double().item() * totals.class_weight
        self.bbox += terms["loss_bbox"].double().item() * totals.boxes
        self.giou += terms["loss_giou"].double().item() * totals.boxes
        self.images += len(labels)
        self.boxes += sum(len(label["class_labels"]) for label in labels)
        self.matched += sum(min(self.config.num_queries, len(label["class_labels"])) for label in labels)

    def losses(self) -> dict[str, float]:
        """`val_loss` and its parts `val_loss_ce`, `val_loss_bbox`, `val_loss_giou` (the latter two unweighted)."""
        unmatched = self.config.num_queries * self.images - self.matched
        weight = self.matched + self.config.eos_coefficient * unmatched
        ce, bbox, giou = self.cross_entropy / weight, self.bbox / max(self.boxes, 1), self.giou / max(self.boxes, 1)
        loss = ce + self.config.bbox_loss_coefficient * bbox + self.config.giou_loss_coefficient * giou
        return {"val_loss": loss, "val_loss_ce": ce, "val_loss_bbox": bbox, "val_loss_giou": giou}


def image_losses(model: DetrForObjectDetection, result: Forward, labels: Sequence[Mapping[str, Tensor]]) -> list[float]:
    """The loss of each image of a batch alone: what `val_loss` would be if it were the whole set.

    Args:
        model: gave `result`.
        result: the batch's.
        labels: one mapping an image, as `forward` takes them.
    """
    losses = []
    for index, label in enumerate(labels):
        logits, boxes = (values[index : index + 1] for values in (result.logits, result.boxes_cxcywh_normalised))
        # Where the model has auxiliary losses, a stack of one layer, the last, stands for "no others".
        with torch.autocast(logits.device.type, enabled=False):
            _, terms, _ = model.loss_function(
                logits, [label], logits.device, boxes, model.config, logits[None], boxes[None]
            )
        sums = LossAccumulator(model.config)
        sums.add(terms, [label])
        losses.append(sums.losses()["val_loss"])
    return losses


def _heads(model: DetrForObjectDetection, states: Tensor) -> tuple[Tensor, Tensor]:
    """Logits [..., queries, classes + 1] and boxes [..., queries, 4] of decoder states [..., queries, d_model]."""
    return model.class_labels_classifier(states).float(), model.bbox_predictor(states).float().sigmoid()
