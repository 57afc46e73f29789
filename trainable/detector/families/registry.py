"""All families, and which one a model is of."""

from typing import Any

from trainable.detector.families.conditional_detr import ConditionalDetr
from trainable.detector.families.d_fine import DFine
from trainable.detector.families.dab_detr import DabDetr
from trainable.detector.families.deformable_detr import DeformableDetr
from trainable.detector.families.detr import Detr, TableTransformer
from trainable.detector.families.family import Family
from trainable.detector.families.rt_detr import RtDetr

_ALL: tuple[Family, ...] = (
    *(Detr(), TableTransformer(), ConditionalDetr(), DabDetr()),
    *(DeformableDetr(), RtDetr(), DFine()),
)
FAMILIES: dict[str, Family] = {model_type: family for family in _ALL for model_type in family.model_types}
"""By what a config names them."""

_NORMALISED_LATE = "its normaliser is known only after matching, so that accumulation would not be exact"
_IN_GROUPS = "its queries are matched in groups while it trains, so that its losses in training and validation differ"
REFUSED = {
    "deimv2": _NORMALISED_LATE,
    "lw_detr": _IN_GROUPS,
    "rf_detr": _IN_GROUPS,
    "yolos": "it has no decoder that a stage could train or freeze",
}
"""Detectors of the same interface that cannot be trained, and why."""


def family_of(config: Any) -> Family:
    """The family of a model, by its config."""
    return FAMILIES[config.model_type]
