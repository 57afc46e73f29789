"""The history of a trial: one row an evaluation, and what follows from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Annotated, Any

from pydantic import AllowInfNan, Field, Strict, TypeAdapter, model_validator

from trainable.metric import METRICS, VAL_LOSS, Metric
from trainable.recipe import LARGEST, Recipe
from trainable.text.validation import rule

MOST_SECONDS = 253_402_300_800.0
"""Seconds from 1970 to the year 10000, after which no date can be written."""

Whole = Annotated[int, Strict(), Field(ge=0, lt=LARGEST)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Seconds = Annotated[float, Strict(), Field(ge=0, lt=MOST_SECONDS)]
Text = Annotated[str, Strict(), rule(str.isprintable, "a text without line breaks and the like")]


def _fits_a_table(value: Any) -> bool:
    if type(value) is str:
        return value.isprintable()
    return type(value) in (float, bool, type(None)) or (type(value) is int and abs(value) < LARGEST)


Scalar = Annotated[Any, rule(_fits_a_table, "a number, a printable text, a truth value or null")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One evaluation within an epoch: those of the recipe's finer interval."""

    epoch: Annotated[float, Strict(), Field(gt=0, lt=LARGEST)]
    """What the trial has trained of its epochs."""
    stage: Whole
    """Counts from 0."""
    train_loss: Number | None = None
    """The mean of the epoch's steps so far."""
    val_loss: Number
    val_loss_ce: Number | None = None
    val_loss_bbox: Number | None = None
    val_loss_giou: Number | None = None
    learning_rate: Number | None = None
    precision: Number
    recall: Number
    f1: Number
    seconds: Seconds
    """What the trial has trained so far."""
    map: Number | None = None
    """COCO's mean average precision, where epochs are compared by it."""
    max_f1: Number | None = None
    """F1 at the score threshold at which it is the highest, where epochs are compared by it."""
    others: dict[Text, Scalar] | None = None
    """Fields that only other versions know, from their files; the tables show them."""

    def to_dict(self) -> dict[str, Any]:
        """As files have it; `ROWS` reads it."""
        return _measured_of(self) | (self.others or {})

    @property
    def metric(self) -> Metric:
        """What it is compared by: what was measured beside the loss, else the loss."""
        return next((each for each in _BESIDE_LOSS if getattr(self, each.field) is not None), METRICS[VAL_LOSS])

    @property
    def compared(self) -> float:
        """Its value of `metric`."""
        return float(getattr(self, self.metric.field))

    @property
    def objective(self) -> float:
        """The same as what is to be as low as can be; an mAP or F1 is taken from 1."""
        return 1 - self.compared if self.metric.more_is_better else self.compared

    @property
    def rank(self) -> tuple[float, float]:
        """What orders the epochs of a trial, the best first: of equals, as where nothing is found yet, the loss."""
        return self.objective, self.val_loss

    @model_validator(mode="before")
    @classmethod
    def _keep_others(cls, plain: Any) -> Any:
        known = cls.__dataclass_fields__.keys()
        if not isinstance(plain, dict) or plain.keys() <= known:
            return plain
        return plain | {"others": {name: value for name, value in plain.items() if name not in known}}


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow(Row):
    """The evaluation at the end of an epoch: what a trial reports, and all that is known of the epoch."""

    epoch: Annotated[int, Strict(), Field(ge=1, lt=LARGEST)]
    """Counts from 1."""
    final: Annotated[bool, Strict()] = False
    """Whether the trial ends with it."""
    within_epoch: tuple[Row, ...] = ()
    """The evaluations before the epoch's end."""
    node: Text | None = None
    """Where it was trained, and by which process; None until the trial has reported it."""
    pid: Whole | None = None

    def to_dict(self) -> dict[str, Any]:
        """As files have it; `ROWS` reads it."""
        plain = _measured_of(self)
        plain |= {"final": self.final, "within_epoch": [row.to_dict() for row in self.within_epoch]}
        plain |= {name: value for name, value in (("node", self.node), ("pid", self.pid)) if value is not None}
        return plain | (self.others or {})


_BESIDE_LOSS = tuple(metric for name, metric in METRICS.items() if name != VAL_LOSS)
_ALWAYS = tuple(
    name for name in Row.__dataclass_fields__ if name not in {"others", *(metric.field for metric in _BESIDE_LOSS)}
)
_always = attrgetter(*_ALWAYS)


def _measured_of(row: Row) -> dict[str, Any]:
    """As files have it; what only some searches measure is left out where it was not."""
    plain = dict(zip(_ALWAYS, _always(row), strict=True))
    if row.metric in _BESIDE_LOSS:
        plain[row.metric.field] = row.compared
    return plain


ROWS = TypeAdapter(list[EpochRow])
"""What reads the rows of a file: `ROWS.validate_python` of a list of plain dicts."""


def current_stage(history: Sequence[EpochRow], recipe: Recipe) -> int | None:
    """Index of the stage that comes next after `history`, None when all are over."""
    if not history:
        return 0
    stage = history[-1].stage
    if not stage_is_over(history, recipe, stage):
        return stage
    return stage + 1 if stage + 1 < len(recipe.stages) else None


def stage_is_over(history: Sequence[EpochRow], recipe: Recipe, stage: int) -> bool:
    """Whether `stage` has had all its epochs, or `patience` epochs without a better one."""
    rows = [row for row in history if row.stage == stage]
    if len(rows) >= recipe.stages[stage].epochs:
        return True
    return recipe.patience is not None and len(rows) - 1 - rows.index(best_row(rows)) >= recipe.patience


def best_row(history: Sequence[EpochRow], stage: int | None = None) -> EpochRow:
    """The row that ranks best, the earliest of equals; of one stage where `stage` is given."""
    rows = history if stage is None else [row for row in history if row.stage == stage]
    return min(rows, key=attrgetter("rank"))
