"""The validation set through a model: its loss as one batch, and what was detected."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel

from trainable.data.dataset import PairCollator
from trainable.detection import (
    Detections,
    GroundTruth,
    ground_truth_from_labels,
    match,
    scores_at,
)
from trainable.detector.loss import LossAccumulator, criterion_of, forward, image_terms
from trainable.precision import autocast
from trainable.readout import readout_of
from trainable.training.validation_terms import losses_of

Item = TypeVar("Item")

LEAST_IMAGES, PIXELS = 8, 1 << 21
"""Images of a forward pass: so many, and of small ones as many as have so many pixels together."""
MOST_IMAGES = {"cpu": 16, "cuda": 64}
"""A CPU gains nothing by more, and on a GPU few validation sets are left to gain by it."""


@dataclass(frozen=True)
class Evaluation:
    """What a model makes of a data set.

    Attributes:
        losses: `val_loss`, `val_loss_ce`, `val_loss_bbox`, `val_loss_giou` of the set taken as one batch.
        detections: one an image, in the order of the set.
        ground_truth: one an image, in the order of the set.
        image_terms: float64 [images, 4]: what each image adds to the loss, in the order of the set, see
            `trainable.detector.loss.image_terms`.
        unread: by its index in the set that was to be evaluated, why a pair could not be read. Another one stood in for
            it in the losses, as in training; it is not among the detections, ground_truth and terms of images.
    """

    losses: dict[str, float]
    detections: list[Detections]
    ground_truth: list[GroundTruth]
    image_terms: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 4)))
    unread: dict[int, str] = field(default_factory=dict)

    def without(self, unread: dict[int, str]) -> "Evaluation":
        """The same where others stood in for the pairs of these indices."""

        def rest(values: list[Any]) -> list[Any]:
            return [value for index, value in enumerate(values) if index not in unread]

        terms = np.delete(self.image_terms, list(unread), axis=0)
        return Evaluation(self.losses, rest(self.detections), rest(self.ground_truth), terms, dict(unread))

    @property
    def image_losses(self) -> list[float]:
        """The loss of each image alone, in the order of the set: what `val_loss` would be if it were the whole set."""
        return [float(loss) for loss in losses_of(self.image_terms)]

    def read(self, pairs: Sequence[Item]) -> list[Item]:
        """Of what was to be evaluated, what was: the items that detections, ground_truth and losses of images are
        of.
        """
        return [pair for index, pair in enumerate(pairs) if index not in self.unread]

    def scores(self, iou_threshold: float = 0.5, score_threshold: float = 0.5) -> dict[str, float]:
        """`precision`, `recall` and `f1` over all classes at one pair of thresholds."""
        scores = scores_at(match(self.detections, self.ground_truth, [iou_threshold]), iou_threshold, score_threshold)
        return {"precision": scores.precision, "recall": scores.recall, "f1": scores.f1}


def evaluate(
    model: PreTrainedModel,
    dataset: Dataset[dict[str, Any]],
    collator: PairCollator,
    dtype: torch.dtype = torch.float32,
) -> Evaluation:
    """Evaluates once; see `evaluation_batches` and `evaluate_batches` for what it takes and raises."""
    return evaluate_batches(model, evaluation_batches(dataset, collator, model.device), dtype)


def evaluation_batches(
    dataset: Dataset[dict[str, Any]],
    collator: PairCollator,
    device: torch.device,
    workers: int = 0,
) -> DataLoader[dict[str, Any]]:
    """A data set in batches, in its order, as often as it is asked for; leaves the global random state alone.

    Args:
        dataset: items of `MovedObjectDataset`.
        collator: pads to the one size of the data set (promise 2).
        device: that the batches go to.
        workers: processes that load images beside this one. They live as long as the loader.
    """
    # A DataLoader draws from the global generator unless it has its own: evaluating more often would change training.
    return DataLoader(
        dataset,
        evaluation_batch_size((collator.height, collator.width), device.type),
        collate_fn=collator,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device.type == "cuda",
        generator=torch.Generator(),
    )


def evaluation_batch_size(padded: tuple[int, int], device: str) -> int:
    """Images of an evaluation's forward pass; the same in every trial and afterwards, so that all give the same bits.

    Args:
        padded: height and width of every image.
        device: `cpu` or `cuda`.
    """
    height, width = padded
    return max(LEAST_IMAGES, min(PIXELS // (height * width), MOST_IMAGES[device]))


def evaluate_batches(
    model: PreTrainedModel,
    batches: Iterable[dict[str, Any]],
    dtype: torch.dtype = torch.float32,
) -> Evaluation:
    """Evaluates in eval mode, without gradients, on the model's device.

    Args:
        model: put into eval mode.
        batches: of the whole data set, see `evaluation_batches`.
        dtype: of the forward pass; the loss is computed in float32.

    Raises:
        FloatingPointError: the model's outputs are not finite.
    """
    model.eval()
    criterion, readout = criterion_of(model.config), readout_of(model.config.model_type)
    sums, detections, ground_truth, terms = LossAccumulator(criterion), [], [], [np.empty((0, 4))]
    with torch.no_grad(), autocast(model.device, dtype):
        for batch in batches:
            inputs = to_device(batch, model.device)
            result = forward(model, inputs, auxiliary=False)
            sums.add(result.terms, inputs["labels"])
            outputs = result.logits, result.boxes_cxcywh_normalised
            detections += readout.detections(*(values.float().numpy(force=True) for values in outputs))
            ground_truth += [ground_truth_from_labels(label) for label in batch["labels"]]
            terms.append(image_terms(result.terms, inputs["labels"], criterion))
    return Evaluation(sums.losses(), detections, ground_truth, np.concatenate(terms))


def to_device(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """A batch of a collator on a device; from pinned memory it is on its way while the processor goes on."""

    def moved(values: Tensor) -> Tensor:
        return values.to(device, non_blocking=True)

    labels = [{name: moved(value) for name, value in label.items()} for label in batch["labels"]]
    return {"pixel_values": moved(batch["pixel_values"]), "pixel_mask": moved(batch["pixel_mask"]), "labels": labels}
