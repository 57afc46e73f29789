"""What the events of a journal must say, so that all who read one can rely on it."""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from trainable.recipe import LARGEST, Recipe, RecipeError
from trainable.text.shown import printable, shown

Event = dict[str, Any]


class JournalError(ValueError):
    """The journal cannot be read or written; the message names the file and says why."""


MOST_SECONDS = 253_402_300_800.0
"""Seconds from 1970 to the year 10000, after which no date can be written."""
STATUSES = ("COMPLETED", "PRUNED", "FAILED")


def first_fault(events: Iterable[Any]) -> tuple[int, str] | None:
    """The first event that breaks a rule: which one, counted from 1, and why; None where all are sound.

    The rules are of each event alone, and of their order: a trial is asked for once and before all else, and its
    epochs go up.
    """
    stages: dict[int, int] = {}
    epochs: dict[int, int] = {}
    for number, event in enumerate(events, start=1):
        if fault := _fault(event) or _fault_of_order(event, stages, epochs):
            return number, fault
        if event["event"] == "asked":
            stages[event["trial"]] = len(event["recipe"].get("stages", ()))
        elif event["event"] == "reported":
            epochs[event["trial"]] = event["metrics"]["epoch"]
    return None


def _fault(event: Any) -> str | None:
    """What is wrong with one event, taken alone."""
    if not isinstance(event, dict):
        return f"an event is an object, got {shown(event)}"
    kind = event.get("event")
    if not isinstance(kind, str) or kind not in _NEEDED:
        return f"event: one of {', '.join(_NEEDED)}, got {shown(kind)}"
    if fault := _broken(event, _EVENT, _NEEDED[kind]):
        return fault
    if kind == "reported":
        return _metrics_fault(event["metrics"])
    return _recipe_fault(event["recipe"]) if kind == "asked" else None


def _fault_of_order(event: Any, stages: Mapping[int, int], epochs: Mapping[int, int]) -> str | None:
    """What is wrong with an event after those before it; it is sound in itself."""
    trial = event["trial"]
    if event["event"] == "asked":
        return f"trial {trial} is asked for a second time" if trial in stages else None
    if trial not in stages:
        return f"trial {trial} has {event['event']} before it was asked for"
    if event["event"] == "reported":
        epoch, stage = event["metrics"]["epoch"], event["metrics"]["stage"]
        if epoch <= epochs.get(trial, 0):
            return f"trial {trial} reports epoch {epoch} after epoch {epochs[trial]}"
        if stage >= stages[trial]:
            return f"trial {trial} reports stage {stage} and has {stages[trial]}, counted from 0"
    return None


def _recipe_fault(recipe: Mapping[str, Any]) -> str | None:
    """An empty recipe is that of a trial whose space raised."""
    try:
        if recipe:
            Recipe.from_dict(recipe)
    except RecipeError as error:
        return f"recipe.{error.faults[0]}"
    return None


def _metrics_fault(metrics: Mapping[str, Any]) -> str | None:
    fault = _broken(metrics, _METRICS, _NEEDED_METRICS)
    for row in () if fault else metrics.get("within_epoch", ()):
        fault = fault or _broken(row, {}, frozenset())
    return fault and f"metrics.{fault}"


_Rule = tuple[Callable[[Any], bool], str]


def _broken(values: Mapping[str, Any], rules: Mapping[str, _Rule], needed: frozenset[str]) -> str | None:
    """The first rule that does not hold."""
    for name, value in values.items():
        holds, rule = rules.get(name, _SCALAR)
        if not holds(value):
            return f"{printable(name[:80])}: {rule}, got {shown(value)}"
    return None if needed <= values.keys() else f"{min(needed - values.keys())}: is missing"


def _is_whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST


def _is_number(value: Any) -> bool:
    return type(value) in (float, int) and abs(value) <= (sys.float_info.max if type(value) is float else LARGEST - 1)


def _is_text(value: Any) -> bool:
    return value is None or (type(value) is str and value.isprintable())


def _is_trial_id(value: Any) -> bool:
    return value is None or (type(value) is str and value.isascii() and value.isdecimal())


def _is_scalar(value: Any) -> bool:
    return type(value) in (float, bool) or _is_text(value) or (type(value) is int and abs(value) < LARGEST)


def _is_object(value: Any) -> bool:
    return type(value) is dict


_SCALAR: _Rule = (_is_scalar, "a number, a printable text, a truth value or null")
_NEEDED = {
    "asked": frozenset({"trial", "parameters", "recipe", "reference", "time"}),
    "reported": frozenset({"trial", "metrics", "time"}),
    "ended": frozenset({"trial", "status", "error", "time"}),
}
_NEEDED_METRICS = frozenset({"epoch", "stage", "val_loss", "precision", "recall", "f1", "seconds"})
_SECONDS: _Rule = (lambda value: _is_number(value) and 0 <= value < MOST_SECONDS, "seconds, 0 or more")
_EVENT: dict[str, _Rule] = {
    "trial": (_is_whole, "a whole number, 0 or more"),
    "time": _SECONDS,
    "parameters": (lambda value: _is_object(value) and all(map(_is_text, value)), "an object of printable names"),
    "recipe": (_is_object, "an object"),
    "reference": (lambda value: type(value) is bool, "true or false"),
    "metrics": (_is_object, "an object"),
    "status": (lambda value: value in STATUSES, f"one of {', '.join(STATUSES)}"),
    "error": (lambda value: value is None or type(value) is str, "a text or null"),
}
_METRICS: dict[str, _Rule] = {
    "epoch": (lambda value: _is_whole(value) and value > 0, "a whole number, 1 or more"),
    "stage": (_is_whole, "a whole number, 0 or more"),
    **dict.fromkeys(("val_loss", "precision", "recall", "f1"), (_is_number, "a number")),
    "train_loss": (lambda value: value is None or _is_number(value), "a number or null"),
    "seconds": _SECONDS,
    "node": (_is_text, "a printable text or null"),
    "pid": (lambda value: value is None or _is_whole(value), "a whole number or null"),
    "shared_from": (_is_trial_id, "the digits of a trial's number or null"),
    "within_epoch": (lambda value: type(value) is list and all(map(_is_object, value)), "a list of objects"),
}
