"""What a detector's loss is made of: how classes are scored and matched, and what everything weighs."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

_EPSILON = 1e-8
"""Added to a probability before its logarithm is taken, as transformers does."""


class ClassLoss(ABC):
    """How the classes of queries are held against those of labels."""

    extra_classes: int
    """Logits of a query beyond those of the data set's classes."""

    @abstractmethod
    def cost(self, logits: Tensor, class_ids: Tensor) -> Tensor:
        """What it costs a query to take a label: [layers, batch, queries, labels].

        Args:
            logits: float32 [layers, batch, queries, classes + extra].
            class_ids: int64 [batch, labels].
        """

    @abstractmethod
    def of_queries(self, logits: Tensor, wanted: Tensor, ious: Tensor) -> Tensor:
        """The undivided loss of each query: float32 [n].

        Args:
            logits: float32 [n, classes + extra].
            wanted: int64 [n], the class of the label that it took; the number of the data set's classes where it took
                none.
            ious: float32 [n], of its box with the label's; 0 where it took none. Without gradients.
        """

    @abstractmethod
    def weight(self, matched: int, unmatched: int, boxes: int) -> float:
        """What the loss of so many queries that took a label, and of those that took none, is divided by.

        Args:
            matched, unmatched: queries.
            boxes: labels, be there a query for each or not.
        """


@dataclass(frozen=True)
class SoftmaxLoss(ClassLoss):
    """DETR's cross entropy over the classes and "no object", which comes last; divided by the sum of class weights."""

    no_object_weight: float
    extra_classes = 1

    def cost(self, logits: Tensor, class_ids: Tensor) -> Tensor:
        """Minus the probability of the label's class."""
        return -logits.softmax(-1).gather(-1, _of_queries(class_ids, logits))

    def of_queries(self, logits: Tensor, wanted: Tensor, ious: Tensor) -> Tensor:
        """Cross entropy, times the weight of the class that is wanted."""
        weights = logits.new_ones(logits.shape[-1])
        weights[-1] = self.no_object_weight
        return cross_entropy(logits, wanted, weights, reduction="none")

    def weight(self, matched: int, unmatched: int, boxes: int) -> float:
        """The sum of the weights of the classes that are wanted."""
        return matched + self.no_object_weight * unmatched


@dataclass(frozen=True)
class FocalLoss(ClassLoss):
    """The focal loss of each class by itself (arXiv 1708.02002), divided by the number of labels."""

    alpha: float
    gamma: float
    matching_alpha: float = 0.25
    matching_gamma: float = 2.0
    extra_classes = 0

    def cost(self, logits: Tensor, class_ids: Tensor) -> Tensor:
        """The focal loss of the label's class where it is wanted, less that where it is not."""
        alpha, gamma = self.matching_alpha, self.matching_gamma
        found = logits.sigmoid().gather(-1, _of_queries(class_ids, logits))
        absent = (1 - alpha) * found**gamma * -(1 - found + _EPSILON).log()
        present = alpha * (1 - found) ** gamma * -(found + _EPSILON).log()
        return present - absent

    def of_queries(self, logits: Tensor, wanted: Tensor, ious: Tensor) -> Tensor:
        """The sum over all classes."""
        targets = _targets(logits, wanted)
        found = logits.sigmoid()
        entropies = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        missing = 1 - (found * targets + (1 - found) * (1 - targets))
        balance = self.alpha * targets + (1 - self.alpha) * (1 - targets)
        return (balance * entropies * missing**self.gamma).sum(-1)

    def weight(self, matched: int, unmatched: int, boxes: int) -> float:
        """The number of labels."""
        return boxes


@dataclass(frozen=True)
class VarifocalLoss(FocalLoss):
    """The varifocal loss (arXiv 2008.13367): what is wanted of a query's class is the IoU of its box."""

    def of_queries(self, logits: Tensor, wanted: Tensor, ious: Tensor) -> Tensor:
        """The sum over all classes."""
        targets = _targets(logits, wanted)
        scores = ious[:, None] * targets
        weights = self.alpha * logits.detach().sigmoid().pow(self.gamma) * (1 - targets) + scores
        return binary_cross_entropy_with_logits(logits, scores, weights, reduction="none").sum(-1)


@dataclass(frozen=True)
class Criterion:
    """The loss of a detector: how its queries are matched with labels, and what the terms weigh."""

    queries: int
    """Of each image."""
    classes: ClassLoss
    class_cost: float
    bbox_cost: float
    giou_cost: float
    bbox_weight: float
    giou_weight: float
    class_weight: float = 1.0


def _of_queries(class_ids: Tensor, logits: Tensor) -> Tensor:
    return class_ids[:, None].expand(*logits.shape[:3], -1)


def _targets(logits: Tensor, wanted: Tensor) -> Tensor:
    """float32 [n, classes], 1 at the class that is wanted."""
    classes = logits.shape[-1]
    targets: Tensor = one_hot(wanted, classes + 1)[:, :-1].to(torch.float32)
    return targets
