"""What breaks the rules of a pydantic type, told as users read it: a line a fault, with field, rule and value."""

from collections.abc import Callable
from typing import Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError

from trainable.text.shown import printable, shown

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument", "invalid_key")
_OF_A_MAPPING = ("dataclass_type", "model_type", "model_attributes_type", "dict_type")


Rule = AfterValidator | BeforeValidator


def rule(holds: Callable[[Any], bool], words: str, before: bool = False) -> Rule:
    """A rule of one's own, for the annotation of a type.

    Args:
        holds: whether a value keeps to it.
        words: how it is told.
        before: whether it is asked of the value as it is given, and not of one that has the type.
    """

    def check(value: Any) -> Any:
        if not holds(value):
            raise ValueError(words)
        return value

    return BeforeValidator(check) if before else AfterValidator(check)


class BrokenRule(NamedTuple):
    """A rule that a value, or a part of it, does not keep to."""

    place: str
    """Such as `stages[0].epochs`; empty for the whole."""
    rule: str
    """Such as `should be greater than 0`."""
    value: str | None
    """As it may be shown; None for a field that is missing or unknown."""

    def __str__(self) -> str:
        got = "" if self.value is None else f", got {self.value}"
        return f"{self.place}: {self.rule}{got}".removeprefix(": ")


def broken_rules(adapter: TypeAdapter[Any], value: Any) -> list[BrokenRule]:
    """All that is wrong with a value.

    Args:
        adapter: made once, of the type whose rules they are.
        value: plain, as YAML or JSON gives it; or an object of the type.
    """
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        return [_broken_rule(fault, adapter) for fault in error.errors(include_url=False, include_context=False)]
    return []


def faults_of(adapter: TypeAdapter[Any], value: Any) -> list[str]:
    """The same, each as a line such as `stages[0].epochs: should be greater than 0, got -1`."""
    return list(map(str, broken_rules(adapter, value)))


def _broken_rule(fault: Any, adapter: TypeAdapter[Any]) -> BrokenRule:
    place, kind = _place(fault["loc"]), fault["type"]
    if kind == "missing":
        return BrokenRule(place, "is missing", None)
    if kind in _UNKNOWN:
        fields = ", ".join(_fields_beside(fault["loc"], adapter.json_schema()))
        return BrokenRule(place, f"no such field; there are {fields}" if fields else "no such field", None)
    if kind in _OF_A_MAPPING:
        return BrokenRule(place, "should be a mapping of fields", shown(fault["input"]))
    # Pydantic says of some values what they look like; the value itself is told beside the rule.
    words = fault["msg"].removeprefix("Value error, ").removeprefix("Input ").partition(", got ")[0]
    return BrokenRule(place, words, shown(fault["input"]))


def _place(where: tuple[int | str, ...]) -> str:
    """Where in a tree a value is, such as `stages[0].epochs`."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{printable(step[:80])}" for step in where)
    return "".join(steps).removeprefix(".")


def _fields_beside(where: tuple[int | str, ...], schema: dict[str, Any]) -> list[str]:
    """The names of the fields of the mapping in which the last step of `where` lies; none below a union of types."""
    node = schema
    for step in where[:-1]:
        node = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
        node = schema.get("$defs", {}).get(node.get("$ref", "").rpartition("/")[2], node)
    return list(node.get("properties", {}))
