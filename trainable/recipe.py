"""What a trial does: the ordered stages, plus what holds for all of them.

A recipe is the whole of what a trial is given. It is a frozen value that validates itself on construction, and goes to
and from plain dicts and YAML without loss.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, StrictFloat, StrictInt, StrictStr, TypeAdapter

from trainable.text.shown import printable
from trainable.text.validation import faults_of, rule, rule_before
from trainable.text.yaml_file import YamlError, read_yaml, yaml_text

PARTS = ("backbone", "encoder", "decoder", "box_head", "class_head")
"""Named groups of a DETR's parameters, from the image to the output; `trainable.detector.parts` maps names to
them."""

UPDATES_PER_CYCLE = 4
"""Least optimizer steps of a restart cycle: over fewer, a cosine with restarts aliases into learning rates that
rise."""

LARGEST = 2**63
"""Numbers are below this: the tables hold 64 bits."""

SMALLEST_IMAGE, LARGEST_IMAGE = 32, 4096
"""Pixels of an image's shorter edge: of fewer, a backbone makes less than one cell; of more, no memory holds a step."""

DTYPES = ("float32", "bfloat16", "float16", "auto")


class RecipeError(ValueError):
    """A recipe breaks one or more rules. `faults` lists them all, one line each."""

    def __init__(self, faults: list[str], source: str = "recipe"):
        self.faults = [printable(fault) for fault in faults]
        heading = f"{printable(source)}: {len(faults)} fault(s)\n"
        super().__init__(heading + "\n".join(f"  - {fault}" for fault in self.faults))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value)


def _are_parts(value: Any) -> bool:
    return _is_list(value) and all(part in PARTS and value.count(part) == 1 for part in value)


_PARTS_RULE = rule_before(_are_parts, f"a list of one or more of {', '.join(PARTS)}, each once")
_Name = Annotated[StrictStr, rule(str.isprintable, "a text without line breaks and the like")]
_Dtype = Annotated[StrictStr, rule(DTYPES.__contains__, f"one of {', '.join(DTYPES)}")]
_Count = Annotated[StrictInt, Field(ge=1, lt=LARGEST)]
_Number = Annotated[StrictFloat, Field(ge=0, lt=LARGEST)]
_PLAIN = ConfigDict(extra="forbid", allow_inf_nan=False, revalidate_instances="always")


@dataclass(frozen=True)
class Stage:
    """A stretch of epochs with its own trainable parts, learning rate, optimizer and schedule."""

    __pydantic_config__ = _PLAIN

    name: _Name
    """What a person calls it; does not change the training."""
    trainable: Annotated[tuple[str, ...], _PARTS_RULE]
    """Parts that learn (a subset of `PARTS`); the others are frozen and run in eval mode."""
    epochs: _Count
    """Passes over the training pairs, at least 1."""
    learning_rate: Annotated[StrictFloat, Field(gt=0, le=1)]
    """Peak learning rate of AdamW, above 0."""
    restart_cycles: _Count = 1
    """Cycles of the cosine schedule with hard restarts, at least 1; 1 is a plain cosine."""


@dataclass(frozen=True)
class Recipe:
    """The stages in order, and what holds for all of them."""

    stages: tuple[Stage, ...]
    batch_size: int = 2
    """Images per forward pass, at least 1, unless `micro_batch` says otherwise."""
    accumulation_steps: int = 16
    """Such batches per optimizer step, at least 1: a step has batch_size x accumulation_steps images."""
    micro_batch: int | None = None
    """Images of a step that go through the model at a time, at least 1; None is `batch_size`. It is the machine's
    choice, kept so that a trial gives the same bits wherever it goes on: another one moves numbers by rounding, and by
    the draws of dropout."""
    weight_decay: float = 1e-4
    """AdamW's decoupled weight decay, 0 or more."""
    backbone_learning_rate_factor: Annotated[StrictFloat, Field(gt=0, lt=LARGEST)] = 1.0
    """The backbone's learning rate as a multiple of the stage's, above 0."""
    warmup_share: Annotated[StrictFloat, Field(ge=0, lt=1)] = 0.0
    """Share of a stage's updates over which the learning rate rises from 0, in [0, 1)."""
    max_grad_norm: _Number = 0.1
    """Norm to which a step's gradient is clipped (DETR's own is 0.1); 0 turns clipping off."""
    evaluations_per_epoch: _Count = 1
    """Evaluations an epoch, at least 1, the last at its end; only that one counts for the search."""
    patience: _Count | None = None
    """Epochs without a lower val_loss after which a stage ends early; None never ends one early."""
    dtype: _Dtype = "float32"
    """Precision of the forward pass, one of `DTYPES`; `auto` is bfloat16 on a GPU that has it, else float32."""
    seed: Annotated[StrictInt, Field(ge=0, lt=2**32)] = 0
    """Seed of weights, order and augmentation, 0 or more."""
    image_size: Annotated[StrictInt, Field(ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)] | None = None
    """Pixels to which images' shorter edges are brought; None is the size of the checkpoint's processor."""

    def __post_init__(self) -> None:
        if faults := faults_of(_RULES, vars(self)):
            raise RecipeError(faults)

    @property
    def epochs(self) -> int:
        """Epochs of all stages together."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def step_images(self) -> int:
        """Images of an optimizer step; the last one of an epoch may have fewer."""
        return self.batch_size * self.accumulation_steps

    @property
    def images_at_a_time(self) -> int:
        """Images in a forward pass; the last one of a step may have fewer."""
        return self.micro_batch or self.batch_size

    def to_dict(self) -> dict[str, Any]:
        """Plain dict of lists, numbers and strings; `Recipe.from_dict` takes it back unchanged."""
        plain = dataclasses.asdict(self)
        plain["stages"] = [{**stage, "trainable": list(stage["trainable"])} for stage in plain["stages"]]
        if self.image_size is None:  # So that tables and recipes read as those of searches from before it could be set.
            del plain["image_size"]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any], source: str = "recipe") -> "Recipe":
        """The recipe that a plain dict describes.

        Args:
            plain: as from `to_dict`; fields with a default may be left out.
            source: what error messages call it, such as a file's path.

        Raises:
            RecipeError: naming every fault: unknown or missing fields, wrong types, values out of range.
        """
        if faults := faults_of(_RULES, plain):
            raise RecipeError(faults, source)
        stages = tuple(Stage(**{**stage, "trainable": tuple(stage["trainable"])}) for stage in plain["stages"])
        return cls(**{**plain, "stages": stages})

    def to_yaml(self) -> str:
        """YAML with the fields in the order of this class."""
        return yaml_text(self.to_dict())

    @classmethod
    def from_yaml(cls, path: Path) -> "Recipe":
        """Reads a recipe file.

        Raises:
            RecipeError: the file cannot be read, is not YAML, or breaks a rule; the message names the file.
        """
        try:
            plain = read_yaml(path)
        except YamlError as error:
            raise RecipeError([f"cannot be read as YAML: {error}"], str(path)) from None
        return cls.from_dict(plain, str(path))


class _Sound(Recipe):
    """A recipe as pydantic makes it, of values whose rules it has checked."""

    def __post_init__(self) -> None:
        """Nothing is left to check."""


_RULES = TypeAdapter(_Sound)


def updates_per_epoch(recipe: Recipe, images: int) -> int:
    """Optimizer steps of one pass over `images` images; the last one may take fewer of them."""
    return math.ceil(images / recipe.step_images)


def cap_restart_cycles(recipe: Recipe, images: int) -> Recipe:
    """The recipe with at most one restart cycle for every `UPDATES_PER_CYCLE` optimizer steps after the warm-up."""
    updates = updates_per_epoch(recipe, images)

    def capped(stage: Stage) -> Stage:
        total = stage.epochs * updates
        after_warmup = total - math.ceil(total * recipe.warmup_share)
        most = max(1, after_warmup // UPDATES_PER_CYCLE)
        return dataclasses.replace(stage, restart_cycles=min(stage.restart_cycles, most))

    return dataclasses.replace(recipe, stages=tuple(capped(stage) for stage in recipe.stages))


def flatten(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's dict as columns of a table: `stages.0.learning_rate`, ..., lists of parts joined by `+`."""
    flat: dict[str, Any] = {}
    for index, stage in enumerate(recipe["stages"]):
        for name, value in stage.items():
            flat[f"stages.{index}.{name}"] = "+".join(value) if name == "trainable" else value
    return flat | {name: value for name, value in recipe.items() if name != "stages"}


def _value_faults(plain: Mapping[str, Any]) -> list[str]:
    """Values out of range; what is missing or misshapen is left to `_shape_faults`."""
    stages = plain.get("stages", ())
    faults = []
    if isinstance(stages, list | tuple):
        faults = [] if stages or "stages" not in plain else ["stages: at least one is needed, got none"]
        for index, stage in enumerate(stages):
            if isinstance(stage, Mapping):
                faults += _name_faults(f"stages[{index}].", stage)
                faults += _trainable_faults(f"stages[{index}].", stage)
                faults += _number_faults(f"stages[{index}].", stage, _STAGE_RULES)
    faults += _number_faults("", plain, _RECIPE_RULES)
    if plain.get("dtype", "auto") not in DTYPES:
        faults.append(f"dtype: one of {', '.join(DTYPES)}, got {shown(plain['dtype'])}")
    return faults


def _name_faults(where: str, stage: Mapping[str, Any]) -> list[str]:
    name = stage.get("name", "")
    if isinstance(name, str) and name.isprintable():
        return []
    return [f"{where}name: a text without line breaks and the like, got {shown(name)}"]


def _trainable_faults(where: str, stage: Mapping[str, Any]) -> list[str]:
    if "trainable" not in stage:
        return []
    parts = stage["trainable"]
    is_list = isinstance(parts, list | tuple) and bool(parts)
    if is_list and all(part in PARTS and parts.count(part) == 1 for part in parts):
        return []
    return [f"{where}trainable: a list of one or more of {', '.join(PARTS)}, each once, got {shown(parts)}"]


_STAGE_RULES = {
    "epochs": (int, lambda v: v >= 1, "a whole number, at least 1"),
    "learning_rate": (float, lambda v: 0 < v <= 1, "a number above 0 and at most 1"),
    "restart_cycles": (int, lambda v: v >= 1, "a whole number, at least 1"),
}
_RECIPE_RULES = {
    "batch_size": (int, lambda v: v >= 1, "a whole number, at least 1"),
    "accumulation_steps": (int, lambda v: v >= 1, "a whole number, at least 1"),
    "micro_batch": (int, lambda v: v >= 1, "a whole number, at least 1, or nothing"),
    "weight_decay": (float, lambda v: v >= 0, "a number, 0 or more"),
    "backbone_learning_rate_factor": (float, lambda v: v > 0, "a number above 0"),
    "warmup_share": (float, lambda v: 0 <= v < 1, "a number in [0, 1)"),
    "max_grad_norm": (float, lambda v: v >= 0, "a number, 0 or more"),
    "evaluations_per_epoch": (int, lambda v: v >= 1, "a whole number, at least 1"),
    "patience": (int, lambda v: v >= 1, "a whole number, at least 1, or nothing"),
    "seed": (int, lambda v: 0 <= v < 2**32, "a whole number from 0 to 2**32 - 1"),
}


def _number_faults(where: str, plain: Mapping[str, Any], rules: dict[str, tuple]) -> list[str]:
    faults = []
    for name, (kind, holds, rule) in rules.items():
        if name not in plain or (plain[name] is None and name in ("micro_batch", "patience")):
            continue
        value = plain[name]
        right_type = isinstance(value, int if kind is int else (int, float)) and not isinstance(value, bool)
        if right_type and LARGEST <= abs(value) < math.inf:
            faults.append(f"{where}{name}: a number below 2**63, got {shown(value)}")
        elif not right_type or not abs(value) < math.inf or not holds(value):
            faults.append(f"{where}{name}: {rule}, got {shown(value)}")
    return faults


def _shape_faults(plain: Mapping[str, Any]) -> list[str]:
    faults = _field_faults("", plain, Recipe)
    stages = plain.get("stages")
    if "stages" in plain and not isinstance(stages, list | tuple):
        return [*faults, f"stages: a list, got {shown(stages)}"]
    for index, stage in enumerate(stages or ()):
        if not isinstance(stage, Mapping):
            faults.append(f"stages[{index}]: a mapping of fields, got {shown(stage)}")
            continue
        faults += _field_faults(f"stages[{index}].", stage, Stage)
    return faults


def _field_faults(where: str, plain: Mapping[str, Any], cls: type[Stage] | type[Recipe]) -> list[str]:
    fields = {field.name: field for field in dataclasses.fields(cls)}
    unknown = [
        f"{where}{str(name)[:80]}: no such field; there are {', '.join(fields)}" for name in plain if name not in fields
    ]
    missing = [
        f"{where}{name}: is missing"
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and name not in plain
    ]
    return unknown + missing


REFERENCE = Recipe(
    stages=(
        Stage("heads", ("box_head", "class_head"), epochs=20, learning_rate=1e-4, restart_cycles=5),
        Stage("everything", PARTS, epochs=20, learning_rate=5e-5, restart_cycles=5),
        Stage("everything, lower", PARTS, epochs=80, learning_rate=1e-5, restart_cycles=5),
    )
)
"""The technical report's recipe: 120 epochs, batch 2 x accumulation 16, cosine with restarts."""


def reference(max_epochs: int, head_epochs: int | None = None) -> Recipe:
    """`REFERENCE` with its epochs scaled to a budget.

    Args:
        max_epochs: epochs of the scaled recipe, at least 3 (one a stage).
        head_epochs: most epochs of the head-only stage; what it cuts goes to the last stage.

    Raises:
        ValueError: `max_epochs` is below 3.
    """
    if max_epochs < len(REFERENCE.stages):
        raise ValueError(f"the reference has {len(REFERENCE.stages)} stages, so max_epochs must be at least that")
    head, middle, _ = (max(1, round(stage.epochs * max_epochs / REFERENCE.epochs)) for stage in REFERENCE.stages)
    head = min(head, head_epochs or head)
    epochs = (head, middle, max_epochs - head - middle)
    stages = [dataclasses.replace(s, epochs=n) for s, n in zip(REFERENCE.stages, epochs, strict=True)]
    return dataclasses.replace(REFERENCE, stages=tuple(stages))
