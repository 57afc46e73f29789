"""What breaks the rules of a pydantic type, told as users read it: a line a fault, with field, rule and value."""

from collections.abc import Callable
from typing import Any

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError

from trainable.text.shown import printable, shown

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument", "invalid_key")
_OF_A_MAPPING = ("dataclass_type", "model_type", "model_attributes_type", "dict_type")


def rule(holds: Callable[[Any], bool], words: str, before: bool = False) -> AfterValidator | BeforeValidator:
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


def faults_of(adapter: TypeAdapter[Any], value: Any) -> list[str]:
    """All that is wrong with a value, such as `stages[0].epochs: should be greater than 0, got -1`.

    Args:
        adapter: made once, of the type whose rules they are.
        value: plain, as YAML or JSON gives it; or an object of the type.
    """
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        return told(error, adapter)
    return []


def told(error: ValidationError, adapter: TypeAdapter[Any]) -> list[str]:
    """The same of an error that validation by `adapter` has raised."""
    return [_line(fault, adapter) for fault in error.errors(include_url=False, include_context=False)]


def _line(fault: Any, adapter: TypeAdapter[Any]) -> str:
    where, kind = fault["loc"], fault["type"]
    if kind == "missing":
        says = "is missing"
    elif kind in _UNKNOWN:
        fields = _fields_beside(where, adapter.json_schema())
        says = f"no such field; there are {', '.join(fields)}" if fields else "no such field"
    elif kind in _OF_A_MAPPING:
        says = f"should be a mapping of fields, got {shown(fault['input'])}"
    else:
        # Pydantic says of some values what they look like; the value itself comes behind.
        words = fault["msg"].removeprefix("Value error, ").removeprefix("Input ").partition(", got ")[0]
        says = f"{words[:1].lower()}{words[1:]}, got {shown(fault['input'])}"
    return f"{_place(where)}: {says}" if where else says


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
