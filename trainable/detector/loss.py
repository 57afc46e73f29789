"""DETR's loss with its normalisers in our own hands, and all decoder layers in one go.

DETR divides its box losses by the number of labelled boxes and its cross entropy by the sum of class weights, both of
*the batch*. So the mean over batches is not the loss of their union: evaluation would move with the batch size
(huggingface/transformers#28893), and accumulated gradients would not be those of the large batch. Here the terms of
a batch are sums; divided by the normalisers (`LossNormalisers`) of the optimizer step, or of the whole validation set,
they are exact.

transformers matches and scores one decoder layer after the other, and compares the boxes of each image with the labels
of all. Here the layers are one more dimension, and an image meets its own labels only: the costs, and so the matches,
are the same to the last bit, with a third of the operations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from transformers import DetrConfig, DetrForObjectDetection

Labels = Sequence[Mapping[str, Tensor]]
"""One mapping an image: `class_labels`, int64 [n], and `boxes`, float32 [n, 4], cxcywh normalised."""


@dataclass(frozen=True)
class LossNormalisers:
    """What DETR divides by: a batch's, an optimizer step's, or a whole data set's."""

    class_weight: float
    """Sum of the class weights of all queries: 1 for a query that has a label, `eos_coefficient` for the others."""
    boxes: int
    """Number of labelled boxes, at least 1."""


@dataclass(frozen=True)
class LossTerms:
    """DETR's loss terms of a batch, undivided; each float32 [layers], the last decoder layer at the end."""

    cross_entropy: Tensor
    """Of all queries, times the weights of their classes."""
    bbox: Tensor
    """L1 distances of matched boxes."""
    giou: Tensor
    """1 - GIoU of matched boxes."""
    images: Tensor
    """float32 [batch, 3]: the three of each image, of the last layer alone and without gradients."""


@dataclass(frozen=True)
class Forward:
    """What one batch gives.

    Attributes:
        logits: float32 [batch, queries, classes + 1], the last class is "no object".
        boxes_cxcywh_normalised: float32 [batch, queries, 4].
        terms: of the loss; of the last decoder layer alone, or of those before it too.
    """

    logits: Tensor
    boxes_cxcywh_normalised: Tensor
    terms: LossTerms


def loss_normalisers(labels: Labels, config: DetrConfig) -> LossNormalisers:
    """The normalisers of the images whose `labels` these are."""
    counts = [len(label["class_labels"]) for label in labels]
    matched = sum(min(config.num_queries, count) for count in counts)
    unmatched = config.num_queries * len(counts) - matched
    return LossNormalisers(matched + config.eos_coefficient * unmatched, max(sum(counts), 1))


def forward(model: DetrForObjectDetection, inputs: Mapping[str, Any], auxiliary: bool = True) -> Forward:
    """One batch through the model and the loss; matching and loss are computed in float32 whatever the autocast.

    Args:
        model: the DETR; its modules are called one by one, so that non-finite outputs are met before the matcher.
        inputs: `pixel_values` [batch, channels, height, width], `pixel_mask` [batch, height, width] (1 on real pixels)
            and `labels`.
        auxiliary: whether the loss is that of all decoder layers, where the model has auxiliary losses.

    Raises:
        FloatingPointError: the model's outputs are not finite.
    """
    hidden = model.model(pixel_values=inputs["pixel_values"], pixel_mask=inputs["pixel_mask"])
    states = hidden.last_hidden_state[None]  # [layers, batch, queries, d_model]
    if auxiliary and model.config.auxiliary_loss:
        states = torch.cat([hidden.intermediate_hidden_states[:-1], states])
    logits, boxes = model.class_labels_classifier(states).float(), model.bbox_predictor(states).float().sigmoid()
    if not (torch.isfinite(logits).all() & torch.isfinite(boxes).all()):
        raise FloatingPointError("the model's outputs are not finite")
    with torch.autocast(logits.device.type, enabled=False):
        return Forward(logits[-1], boxes[-1], loss_terms(logits, boxes, inputs["labels"], model.config))


def loss_terms(logits: Tensor, boxes_cxcywh_normalised: Tensor, labels: Labels, config: DetrConfig) -> LossTerms:
    """The terms of the outputs of one or more decoder layers, each matched by itself.

    Args:
        logits: float32 [layers, batch, queries, classes + 1].
        boxes_cxcywh_normalised: float32 [layers, batch, queries, 4].
        labels: of the batch's images.
        config: holds the costs of the matcher and the weight of the class "no object".
    """
    layers, batch, queries, classes = logits.shape
    taking, taken = _matches(logits, boxes_cxcywh_normalised, labels, config)
    class_ids = torch.cat([label["class_labels"] for label in labels])
    truths = torch.cat([label["boxes"] for label in labels])[taken]  # [layers, matched, 4]
    wanted = class_ids.new_full((logits[..., 0].numel(),), classes - 1)
    wanted[taking] = class_ids[taken]
    weights = logits.new_ones(classes)
    weights[-1] = config.eos_coefficient
    entropies = cross_entropy(logits.flatten(0, 2), wanted, weights, reduction="none")
    found = boxes_cxcywh_normalised.flatten(0, 2)[taking]  # [layers, matched, 4]
    distances, apart = (found - truths).abs(), 1 - _giou(_corners(found), _corners(truths))
    with torch.no_grad():
        images = entropies.new_zeros(batch, 3)
        images[:, 0] = entropies.view(layers, batch, queries)[-1].sum(1)
        of_boxes = torch.stack([distances[-1].sum(-1), apart[-1]], dim=1)
        images[:, 1:].index_add_(0, taking[-1] // queries - (layers - 1) * batch, of_boxes)
    return LossTerms(entropies.view(layers, -1).sum(1), distances.sum((1, 2)), apart.sum(1), images)


def scaled_loss(terms: LossTerms, whole: LossNormalisers, config: DetrConfig) -> Tensor:
    """The share of a batch in the loss of the `whole` it belongs to; summed over the whole's batches it is exact.

    Args:
        terms: the batch's; all layers count.
        whole: of all batches of the optimizer step.
        config: holds the weights of the box losses.
    """
    boxes: Tensor = config.bbox_loss_coefficient * terms.bbox + config.giou_loss_coefficient * terms.giou
    return (terms.cross_entropy / whole.class_weight + boxes / whole.boxes).sum()


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

    def add(self, terms: LossTerms, labels: Labels) -> None:
        """Adds a batch: its loss terms and the labels that they come from."""
        cross_entropy, bbox, giou = torch.stack([terms.cross_entropy, terms.bbox, terms.giou])[:, -1].tolist()
        self.cross_entropy += cross_entropy
        self.bbox += bbox
        self.giou += giou
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


def image_terms(terms: LossTerms, labels: Labels, config: DetrConfig) -> NDArray[np.float64]:
    """What each image of a batch adds to the loss of a set: float64 [batch, 4].

    The columns are cross entropy, class weight, the weighted loss of the boxes, and their number; the loss of any set
    of images is the sum of the first by that of the second, and the sum of the third by that of the fourth, at least 1.

    Args:
        terms: the batch's.
        labels: of its images.
        config: the model's.
    """
    cross_entropy, bbox, giou = terms.images.double().cpu().numpy().T
    own = [loss_normalisers([label], config) for label in labels]
    return np.stack(
        [
            cross_entropy,
            [of_image.class_weight for of_image in own],
            config.bbox_loss_coefficient * bbox + config.giou_loss_coefficient * giou,
            [len(label["class_labels"]) for label in labels],
        ],
        axis=1,
    )


@torch.no_grad()
def _matches(logits: Tensor, boxes: Tensor, labels: Labels, config: DetrConfig) -> tuple[Tensor, Tensor]:
    """Which queries take which labels, in each layer those that cost least together (transformers' matcher).

    Args: as `loss_terms`.

    Returns:
        Two int64 [layers, matched], in order of image and query: where the query lies in [layers, batch, queries],
        counted through, and where the label lies in those of the batch.
    """
    layers, batch, queries, _ = logits.shape
    counts = [len(label["class_labels"]) for label in labels]
    class_ids = pad_sequence([label["class_labels"] for label in labels], batch_first=True)  # [batch, most labels]
    truths = pad_sequence([label["boxes"] for label in labels], batch_first=True)  # [batch, most labels, 4]
    of_class = logits.softmax(-1).gather(-1, class_ids[:, None].expand(layers, batch, queries, -1))
    giou = _giou(_corners(boxes)[..., None, :], _corners(truths)[:, None])
    distance = torch.cdist(boxes, truths, p=1)
    cost = config.bbox_cost * distance + config.class_cost * -of_class + config.giou_cost * -giou
    # What is no number, such as the GIoU of two points, is taken last; the matcher would refuse it.
    most = torch.finfo(cost.dtype).max
    costs = torch.nan_to_num(cost, nan=most, posinf=most, neginf=most).cpu().numpy()
    taking, taken = np.empty((2, layers, sum(min(count, queries) for count in counts)), np.int64)
    for layer in range(layers):
        end = first_label = 0
        for image, count in enumerate(counts):
            rows, columns = linear_sum_assignment(costs[layer, image, :, :count])
            begin, end = end, end + len(rows)
            taking[layer, begin:end] = rows + (layer * batch + image) * queries
            taken[layer, begin:end] = columns + first_label
            first_label += count
    return torch.from_numpy(taking).to(logits.device), torch.from_numpy(taken).to(logits.device)


def _corners(boxes_cxcywh: Tensor) -> Tensor:
    """[..., 4] centre, width, height -> [..., 4] left, top, right, bottom, in the same unit."""
    centre, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return torch.cat([centre - 0.5 * size, centre + 0.5 * size], dim=-1)


def _giou(boxes_xyxy: Tensor, others_xyxy: Tensor) -> Tensor:
    """Generalised intersection over union of boxes [..., 4], of shapes that broadcast; NaN for two points."""
    left_top, right_bottom = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    other_left_top, other_right_bottom = others_xyxy[..., :2], others_xyxy[..., 2:]
    overlap = _area((torch.min(right_bottom, other_right_bottom) - torch.max(left_top, other_left_top)).clamp(min=0))
    union = _area(right_bottom - left_top) + _area(other_right_bottom - other_left_top) - overlap
    around = _area(torch.max(right_bottom, other_right_bottom) - torch.min(left_top, other_left_top))
    return overlap / union - (around - union) / around


def _area(size: Tensor) -> Tensor:
    width, height = size.unbind(-1)
    return width * height
