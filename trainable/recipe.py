"""What a trial does: the ordered stages, plus what holds for all of them.

A recipe is the whole of what a trial is given. It is a frozen value that validates itself on construction, and goes to
and from plain dicts and YAML without loss.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from trainable.alignment import ALIGNMENTS, OFF
from trainable.metric import METRICS, VAL_LOSS
from trainable.model_signal import DIFFERENCE, SIGNALS
from trainable.text.shown import printable
from trainable.text.validation import faults_of, rule
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


_PARTS_RULE = rule(_are_parts, f"a list of one or more of {', '.join(PARTS)}, each once", before=True)
_Name = Annotated[StrictStr, rule(str.isprintable, "a text without line breaks and the like")]
_Dtype = Annotated[StrictStr, rule(DTYPES.__contains__, f"one of {', '.join(DTYPES)}")]
_Alignment = Annotated[StrictStr, rule(ALIGNMENTS.__contains__, f"one of {', '.join(ALIGNMENTS)}")]
_Metric = Annotated[StrictStr, rule(METRICS.__contains__, f"one of {', '.join(METRICS)}")]
_Signal = Annotated[StrictStr, rule(SIGNALS.__contains__, f"one of {', '.join(SIGNALS)}")]
_Count = Annotated[StrictInt, Field(ge=1, lt=LARGEST)]
_Number = Annotated[StrictFloat, Field(ge=0, lt=LARGEST)]
_Share = Annotated[StrictFloat, Field(ge=0, le=1)]
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
class Input:
    """What the model is given of a pair."""

    __pydantic_config__ = _PLAIN

    alignment: _Alignment = OFF
    """By what `before` is brought over `after` first, one of `ALIGNMENTS`: nothing, the simplest of the models up to
    this one that explains how the camera moved, or, where it moved by more than half a pixel, any of them (`auto`)."""
    signal: _Signal = DIFFERENCE
    """What goes into the model, one of `SIGNALS`: the `difference` of the images; both images, of whose `features` in
    the backbone the difference goes on; or the difference and the after image, `stacked`."""


@dataclass(frozen=True)
class Augmentation:
    """How training pairs are changed at random."""

    __pydantic_config__ = _PLAIN

    probability: _Share = 0.0
    """Of each change to a pair, 0 to 1; 0 leaves all pairs as they are."""
    strength: _Share = 0.5
    """How far the changes go, 0 to 1."""
    variants: _Count | None = None
    """So many variants of each pair in turn, epoch by epoch, which are kept as images and outputs of frozen layers are;
    None draws anew in every epoch."""


@dataclass(frozen=True)
class Recipe:
    """The stages in order, and what holds for all of them."""

    __pydantic_config__ = _PLAIN

    stages: Annotated[tuple[Stage, ...], rule(_is_list, "a list of at least one stage", before=True)]
    batch_size: _Count = 2
    """Images per forward pass, at least 1, unless `micro_batch` says otherwise."""
    accumulation_steps: _Count = 16
    """Such batches per optimizer step, at least 1: a step has batch_size x accumulation_steps images."""
    micro_batch: _Count | None = None
    """Images of a step that go through the model at a time, at least 1; None is `batch_size`. It is the machine's
    choice, kept so that a trial gives the same bits wherever it goes on: another one moves numbers by rounding, and by
    the draws of dropout."""
    weight_decay: _Number = 1e-4
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
    """Epochs without a better one, by `metric`, after which a stage ends early; None never ends one early."""
    dtype: _Dtype = "float32"
    """Precision of the forward pass, one of `DTYPES`; `auto` is bfloat16 on a GPU that has it, else float32."""
    seed: Annotated[StrictInt, Field(ge=0, lt=2**32)] = 0
    """Seed of weights, order and augmentation, 0 or more."""
    image_size: Annotated[StrictInt, Field(ge=SMALLEST_IMAGE, le=LARGEST_IMAGE)] | None = None
    """Pixels to which images' shorter edges are brought; None is the size of the checkpoint's processor."""
    input: Input = Input()
    """What the model is given of a pair."""
    augmentation: Augmentation = Augmentation()
    """How training pairs are changed at random."""
    model: _Name | None = None
    """The checkpoint to start from, a folder or a name on the hub, where a search has chosen it; None leaves that to
    whoever trains the recipe."""
    metric: _Metric = VAL_LOSS
    """By what of the validation pairs the best epoch is told, one of `METRICS`: of a stage, from whose weights the next
    one starts, and of all."""

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
        stages = [{**vars(stage), "trainable": list(stage.trainable)} for stage in self.stages]
        return {"stages": stages} | self.settings()

    def settings(self) -> dict[str, Any]:
        """The fields that hold for all stages, those of one thing as a dict."""
        # Without what is not set, tables and recipes read as those of searches from before it could be.
        optional = ("image_size", "input", "augmentation", "model", "metric")
        unset = {name for name in optional if getattr(self, name) == _DEFAULTS[name]}
        plain = {name: value for name, value in vars(self).items() if name not in {"stages"} | unset}
        return {name: dict(vars(value)) if is_dataclass(value) else value for name, value in plain.items()}

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
        parts = {name: kind(**plain[name]) for name, kind in _PARTS_OF_IT.items() if name in plain}
        return cls(**{**plain, "stages": stages, **parts})

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


_PARTS_OF_IT = {"input": Input, "augmentation": Augmentation}
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Recipe)}


class _Sound(Recipe):
    """A recipe as pydantic makes it, of values whose rules it has checked."""

    def __post_init__(self) -> None:
        """Nothing is left to check."""


_RULES = TypeAdapter(_Sound)


def updates_per_epoch(recipe: Recipe, images: int) -> int:
    """Optimizer steps of one pass over `images` images; the last one may take fewer of them."""
    return math.ceil(images / recipe.step_images)


def augments(recipe: Recipe) -> bool:
    """Whether training pairs are changed at random."""
    return recipe.augmentation.probability > 0


def cap_restart_cycles(recipe: Recipe, images: int) -> Recipe:
    """The recipe with at most one restart cycle for every `UPDATES_PER_CYCLE` optimizer steps after the warm-up."""
    updates = updates_per_epoch(recipe, images)

    def capped(stage: Stage) -> Stage:
        total = stage.epochs * updates
        after_warmup = total - math.ceil(total * recipe.warmup_share)
        most = max(1, after_warmup // UPDATES_PER_CYCLE)
        return dataclasses.replace(stage, restart_cycles=min(stage.restart_cycles, most))

    return dataclasses.replace(recipe, stages=tuple(capped(stage) for stage in recipe.stages))


def flatten(recipe: Recipe) -> dict[str, Any]:
    """A recipe as columns of a table.

    They are `stages.0.learning_rate`, `input.alignment` and so on, with lists of parts joined by `+`.
    """
    flat: dict[str, Any] = {}
    for index, stage in enumerate(recipe.stages):
        for name, value in vars(stage).items():
            flat[f"stages.{index}.{name}"] = "+".join(value) if name == "trainable" else value
    for name, value in recipe.settings().items():
        flat |= {f"{name}.{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _as_written(plain: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return Recipe.from_dict(plain)
    except RecipeError:
        return read(plain)  # Says the same with the place in the whole.


KeptRecipe = Annotated[Recipe, WrapValidator(_as_written)]
"""A recipe as a field of what pydantic reads; its whole numbers stay whole."""


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
