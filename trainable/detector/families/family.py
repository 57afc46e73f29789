"""What a kind of detector has to say of itself, so that everything else need not know it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from trainable.detector.criterion import Criterion
from trainable.model_signal import DIFFERENCE


@dataclass(frozen=True)
class Predictions:
    """What a batch gives, of one or more layers; the last one's is what is detected."""

    logits: Tensor
    """float32 [layers, batch, queries, classes], with one class more where there is "no object"."""
    boxes_cxcywh_normalised: Tensor
    """float32 [layers, batch, queries, 4]."""
    corners: Tensor | None = None
    """Of as many last layers as have them, what `Family.corner_terms` takes."""
    references_cxcywh_normalised: Tensor | None = None
    """Of these layers, the boxes that the corners are told from."""


class Family(ABC):
    """One kind of detector, or several that differ in their weights alone."""

    model_types: tuple[str, ...]
    """As `config.json` names them."""
    title: str
    """One of its models in a sentence."""
    parts: ClassVar[Mapping[str, tuple[str, ...]]]
    """The modules that make up each part of `recipe.PARTS`; of nested ones, the inner one says whose they are."""
    settings: ClassVar[Mapping[str, Any]] = {}
    """What is set in its config, whatever a checkpoint says, so that it can be trained exactly."""
    constants: tuple[str, ...] = ()
    """Parameters that never learn."""
    cacheable: tuple[str, ...] = ("backbone",)
    """The first parts whose outputs may be kept while they are frozen, see `trainable.reuse.frozen_features`."""
    maps: str = "model.backbone"
    """The module that makes maps of an image, each with its mask."""
    goes_on_from_last_map: bool = True
    """Whether the last of these maps is all that the model goes on from."""
    sides_divide_by: int | None = None
    """Where images must be of one size and are never padded, what both of its sides have to divide by."""
    signals: tuple[str, ...] = (DIFFERENCE,)
    """What it can be given of a pair."""

    def part_of(self, name: str) -> str:
        """The part that a parameter or buffer belongs to.

        Args:
            name: dotted name in the model.

        Raises:
            KeyError: it belongs to none.
        """
        owners = [
            (len(module), part)
            for part, modules in self.parts.items()
            for module in modules
            if name == module or name.startswith(f"{module}.")
        ]
        if not owners:
            raise KeyError(f"{name} belongs to no part of a {self.model_types[0]}")
        return max(owners)[1]

    @abstractmethod
    def criterion(self, config: PreTrainedConfig) -> Criterion:
        """The loss of a model."""

    @abstractmethod
    def predictions(self, model: PreTrainedModel, inputs: Mapping[str, Any], auxiliary: bool) -> Predictions:
        """One batch through the model, and not through transformers' loss.

        Args:
            model: of this family.
            inputs: `pixel_values` [batch, channels, height, width], `pixel_mask` [batch, height, width] (1 on real
                pixels).
            auxiliary: whether those of all layers are asked for, where the model has auxiliary losses.
        """

    def corner_terms(
        self, config: PreTrainedConfig, predictions: Predictions, taking: Tensor, truths: Tensor, ious: Tensor
    ) -> Tensor:
        """A loss of boxes that the family alone has: float32 [layers that have corners], undivided, weighted.

        Args:
            config: of the model.
            predictions: with corners.
            taking: int64 [layers with corners, matched]: where the queries that took a label lie in these layers,
                counted through.
            truths: float32 [layers with corners, matched, 4], their labels' boxes, cxcywh normalised.
            ious: float32 [layers with corners, matched], of these with the queries' own.
        """
        raise NotImplementedError

    def kept_numbers(self, config: Any, cells: Sequence[int], trainable: Sequence[str]) -> int:
        """Numbers of an image that the backward pass needs of what comes behind the backbone.

        A layer keeps the inputs of its projections, norms and attention, 12 (a decoder's: 17) vectors of `d_model`, and
        the inner state of its feed-forward part, of each cell (or query); a decoder's, the keys and values of all cells
        as well. Attention itself keeps no matrix of cells x cells: torch's kernels compute it again.

        Args:
            config: of the model.
            cells: of each map that the backbone gives.
            trainable: the parts that learn.
        """
        all_cells, width, parts = sum(cells), self.width(config), set(trainable)
        numbers = 0
        if parts & {"backbone", "encoder"}:
            numbers += self.encoder_numbers(config, cells)
        if parts & {"backbone", "encoder", "decoder"}:
            queries = self.criterion(config).queries * (17 * width + config.decoder_ffn_dim)
            numbers += config.decoder_layers * (queries + 2 * all_cells * width)
        return numbers

    def encoder_numbers(self, config: Any, cells: Sequence[int]) -> int:
        """Those of the encoder, see `kept_numbers`."""
        return int(config.encoder_layers * sum(cells) * (12 * self.width(config) + config.encoder_ffn_dim))

    def width(self, config: Any) -> int:
        """Numbers of a state of the transformer."""
        return int(config.d_model)


def box_costs(config: Any) -> dict[str, float]:
    """Costs and weights of boxes, as the families next to DETR name them in their configs."""
    return {
        "class_cost": config.class_cost,
        "bbox_cost": config.bbox_cost,
        "giou_cost": config.giou_cost,
        "bbox_weight": config.bbox_loss_coefficient,
        "giou_weight": config.giou_loss_coefficient,
    }


PARTS_OF_DETR: Mapping[str, tuple[str, ...]] = {
    "backbone": ("model.backbone",),
    "encoder": ("model.input_projection", "model.position_embedding", "model.encoder"),
    "decoder": ("model.query_position_embeddings", "model.decoder"),
    "box_head": ("bbox_predictor",),
    "class_head": ("class_labels_classifier",),
}
"""The modules of DETR, and of families that took over their names."""
