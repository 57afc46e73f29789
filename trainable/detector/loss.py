"""A detector's loss with its normalisers in our own hands, and all decoder layers in one go.

DETR divides its box losses by the number of labelled boxes and its cross entropy by the sum of class weights, other
families all of it by the number of boxes; of *the batch*. So the mean over batches is not the loss of their union:
evaluation would move with the batch size (huggingface/transformers#28893), and accumulated gradients would not be those
of the large batch. Here the terms of a batch are sums; divided by the normalisers (`LossNormalisers`) of the optimizer
step, or of the whole validation set, they are exact.

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
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedConfig, PreTrainedModel

from trainable.detector.criterion import Criterion
from trainable.detector.families.family import Family, Predictions
from trainable.detector.families.registry import family_of

Labels = Sequence[Mapping[str, Tensor]]
"""One mapping an image: `class_labels`, int64 [n], and `boxes`, float32 [n, 4], cxcywh normalised."""


@dataclass(frozen=True)
class LossNormalisers:
    """What the loss is divided by: a batch's, an optimizer step's, or a whole data set's."""

    class_weight: float
    """See `ClassLoss.weight`; above 0."""
    boxes: int
    """Number of labelled boxes, at least 1."""


@dataclass(frozen=True)
class LossTerms:
    """The loss terms of a batch, undivided; each float32 [layers], the last decoder layer at the end."""

    classes: Tensor
    """Of all queries, as the family scores them: for DETR, cross entropy times the weights of their classes."""
    bbox: Tensor
    """L1 distances of matched boxes."""
    giou: Tensor
    """1 - GIoU of matched boxes."""
    corners: Tensor
    """What a family has beside these, weighted (`Family.corner_terms`); 0 for most. It is no part of `val_loss`."""
    images: Tensor
    """float32 [batch, 3]: the three of each image, of the last layer alone and without gradients."""


@dataclass(frozen=True)
class Forward:
    """What one batch gives.

    Attributes:
        logits: float32 [batch, queries, classes], of the last decoder layer; see `Predictions`.
        boxes_cxcywh_normalised: float32 [batch, queries, 4], likewise.
        terms: of the loss; of the last decoder layer alone, or of those before it too.
    """

    logits: Tensor
    boxes_cxcywh_normalised: Tensor
    terms: LossTerms


def criterion_of(config: PreTrainedConfig) -> Criterion:
    """The loss of a model, by its config."""
    return family_of(config).criterion(config)


def loss_normalisers(labels: Labels, criterion: Criterion) -> LossNormalisers:
    """The normalisers of the images whose `labels` these are."""
    return LossNormalisers(_class_weight(labels, criterion) or 1.0, max(_number_of(labels), 1))


def forward(model: PreTrainedModel, inputs: Mapping[str, Any], auxiliary: bool = True) -> Forward:
    """One batch through the model and the loss; matching and loss are computed in float32 whatever the autocast.

    Args:
        model: the detector; non-finite outputs are met before the matcher.
        inputs: `pixel_values` [batch, channels, height, width], `pixel_mask` [batch, height, width] (1 on real pixels)
            and `labels`.
        auxiliary: whether the loss is that of all decoder layers, where the model has auxiliary losses.

    Raises:
        FloatingPointError: the model's outputs are not finite.
    """
    family = family_of(model.config)
    predictions = family.predictions(model, inputs, auxiliary)
    logits, boxes = predictions.logits, predictions.boxes_cxcywh_normalised
    if not (torch.isfinite(logits).all() & torch.isfinite(boxes).all()):
        raise FloatingPointError("the model's outputs are not finite")
    with torch.autocast(logits.device.type, enabled=False):
        return Forward(logits[-1], boxes[-1], loss_terms(predictions, inputs["labels"], family, model.config))


def loss_terms(predictions: Predictions, labels: Labels, family: Family, config: PreTrainedConfig) -> LossTerms:
    """The terms of the outputs of one or more decoder layers, each matched by itself.

    Args:
        predictions: of the layers.
        labels: of the batch's images.
        family: of the model.
        config: of the model.
    """
    criterion, logits, boxes = family.criterion(config), predictions.logits, predictions.boxes_cxcywh_normalised
    layers, batch, queries, classes = logits.shape
    taking, taken = _matches(logits, boxes, labels, criterion)
    class_ids = torch.cat([label["class_labels"] for label in labels])
    truths = torch.cat([label["boxes"] for label in labels])[taken]  # [layers, matched, 4]
    wanted = class_ids.new_full((logits[..., 0].numel(),), classes - criterion.classes.extra_classes)
    wanted[taking] = class_ids[taken]
    found = boxes.flatten(0, 2)[taking]  # [layers, matched, 4]
    overlap = _Overlap.of(_corners(found), _corners(truths))
    ious = boxes.new_zeros(len(wanted))
    ious[taking] = overlap.iou.detach()
    of_classes = criterion.classes.of_queries(logits.flatten(0, 2), wanted, ious)
    distances, apart = (found - truths).abs(), 1 - overlap.giou
    with torch.no_grad():
        images = of_classes.new_zeros(batch, 3)
        images[:, 0] = of_classes.view(layers, batch, queries)[-1].sum(1)
        of_boxes = torch.stack([distances[-1].sum(-1), apart[-1]], dim=1)
        images[:, 1:].index_add_(0, taking[-1] // queries - (layers - 1) * batch, of_boxes)
    corners = of_classes.new_zeros(layers)
    if predictions.corners is not None:
        having = len(predictions.corners)
        first = layers - having
        places = taking[first:] - first * batch * queries
        local = family.corner_terms(config, predictions, places, truths[first:], overlap.iou[first:].detach())
        corners = torch.cat([corners[:first], local])
    return LossTerms(of_classes.view(layers, -1).sum(1), distances.sum((1, 2)), apart.sum(1), corners, images)


def scaled_loss(terms: LossTerms, whole: LossNormalisers, criterion: Criterion) -> Tensor:
    """The share of a batch in the loss of the `whole` it belongs to; summed over the whole's batches it is exact.

    Args:
        terms: the batch's; all layers count.
        whole: of all batches of the optimizer step.
        criterion: holds the weights of the terms.
    """
    boxes: Tensor = criterion.bbox_weight * terms.bbox + criterion.giou_weight * terms.giou + terms.corners
    return (criterion.class_weight * terms.classes / whole.class_weight + boxes / whole.boxes).sum()


@dataclass
class LossAccumulator:
    """Sums over a data set in float64, divided once: the loss of the whole set taken as one batch.

    Only the last decoder layer counts, since the detections come from it; so `loss` is the weighted sum of its three
    terms, and means the same with and without auxiliary losses.
    """

    criterion: Criterion
    classes: float = 0.0
    bbox: float = 0.0
    giou: float = 0.0
    images: int = 0
    matched: int = 0
    boxes: int = 0

    def add(self, terms: LossTerms, labels: Labels) -> None:
        """Adds a batch: its loss terms and the labels that they come from."""
        classes, bbox, giou = torch.stack([terms.classes, terms.bbox, terms.giou])[:, -1].tolist()
        self.classes += classes
        self.bbox += bbox
        self.giou += giou
        self.images += len(labels)
        self.boxes += _number_of(labels)
        self.matched += _matched(labels, self.criterion)

    def losses(self) -> dict[str, float]:
        """`val_loss` and its parts `val_loss_ce`, `val_loss_bbox`, `val_loss_giou` (unweighted)."""
        criterion, boxes = self.criterion, max(self.boxes, 1)
        unmatched = criterion.queries * self.images - self.matched
        weight = criterion.classes.weight(self.matched, unmatched, self.boxes) or 1.0
        ce, bbox, giou = self.classes / weight, self.bbox / boxes, self.giou / boxes
        loss = criterion.class_weight * ce + criterion.bbox_weight * bbox + criterion.giou_weight * giou
        return {"val_loss": loss, "val_loss_ce": ce, "val_loss_bbox": bbox, "val_loss_giou": giou}


def image_terms(terms: LossTerms, labels: Labels, criterion: Criterion) -> NDArray[np.float64]:
    """What each image of a batch adds to the loss of a set: float64 [batch, 4].

    The columns are the weighted loss of classes, the class weight, the weighted loss of the boxes, and their number;
    the loss of any set of images is the sum of the first by that of the second (by 1, where that is 0), and the sum of
    the third by that of the fourth, at least 1.

    Args:
        terms: the batch's.
        labels: of its images.
        criterion: the model's.
    """
    classes, bbox, giou = terms.images.double().cpu().numpy().T
    return np.stack(
        [
            criterion.class_weight * classes,
            [_class_weight([label], criterion) for label in labels],
            criterion.bbox_weight * bbox + criterion.giou_weight * giou,
            [len(label["class_labels"]) for label in labels],
        ],
        axis=1,
    )


def _class_weight(labels: Labels, criterion: Criterion) -> float:
    matched = _matched(labels, criterion)
    unmatched = criterion.queries * len(labels) - matched
    return criterion.classes.weight(matched, unmatched, _number_of(labels))


def _matched(labels: Labels, criterion: Criterion) -> int:
    """Queries that take a label."""
    return sum(min(criterion.queries, len(label["class_labels"])) for label in labels)


def _number_of(labels: Labels) -> int:
    return sum(len(label["class_labels"]) for label in labels)


@torch.no_grad()
def _matches(logits: Tensor, boxes: Tensor, labels: Labels, criterion: Criterion) -> tuple[Tensor, Tensor]:
    """Which queries take which labels, in each layer those that cost least together (transformers' matcher).

    Args:
        logits: float32 [layers, batch, queries, classes].
        boxes: float32 [layers, batch, queries, 4], cxcywh normalised.
        labels: of the batch's images.
        criterion: holds the costs.

    Returns:
        Two int64 [layers, matched], in order of image and query: where the query lies in [layers, batch, queries],
        counted through, and where the label lies in those of the batch.
    """
    layers, batch, queries, _ = logits.shape
    counts = [len(label["class_labels"]) for label in labels]
    class_ids = pad_sequence([label["class_labels"] for label in labels], batch_first=True)  # [batch, most labels]
    truths = pad_sequence([label["boxes"] for label in labels], batch_first=True)  # [batch, most labels, 4]
    giou = _Overlap.of(_corners(boxes)[..., None, :], _corners(truths)[:, None]).giou
    distance = torch.cdist(boxes, truths, p=1)
    of_class = criterion.classes.cost(logits, class_ids)
    cost = criterion.bbox_cost * distance + criterion.class_cost * of_class + criterion.giou_cost * -giou
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


@dataclass(frozen=True)
class _Overlap:
    """How far boxes lie upon others, of shapes that broadcast; NaN for two points."""

    iou: Tensor
    giou: Tensor
    """Generalised: below 0 where they lie apart."""

    @classmethod
    def of(cls, boxes_xyxy: Tensor, others_xyxy: Tensor) -> "_Overlap":
        left_top, right_bottom = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
        other_left_top, other_right_bottom = others_xyxy[..., :2], others_xyxy[..., 2:]
        shared = _area((torch.min(right_bottom, other_right_bottom) - torch.max(left_top, other_left_top)).clamp(min=0))
        union = _area(right_bottom - left_top) + _area(other_right_bottom - other_left_top) - shared
        around = _area(torch.max(right_bottom, other_right_bottom) - torch.min(left_top, other_left_top))
        iou = shared / union
        return cls(iou, iou - (around - union) / around)


def _area(size: Tensor) -> Tensor:
    width, height = size.unbind(-1)
    return width * height
