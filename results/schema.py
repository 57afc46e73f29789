"""What the files of a run folder must look like for the report to show them; a damaged one is left out as a whole."""

from collections.abc import Callable
from typing import Any

from trainable.text.shown import shown

LARGE = 1e300
Schema = Callable[[Any], bool] | list[Any] | dict[str, Any]
"""A rule; a list, whose items all have one schema; a dict, whose names may end in `?` (may be missing, or null), and in
which `*` is any other name."""


def schema_error(value: Any, schema: Schema, where: str = "it") -> str | None:
    """The first place at which a value has not the schema; None where it has."""
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            return f"{where} is no mapping: {shown(value)}"
        return next(
            filter(None, (_named_schema_error(value, name, inner, where) for name, inner in schema.items())), None
        )
    if isinstance(schema, list):
        if not isinstance(value, list):
            return f"{where} is no list: {shown(value)}"
        return next(filter(None, (schema_error(item, schema[0], f"an item of {where}") for item in value)), None)
    return None if schema(value) else f"{where} cannot be {shown(value)}"


def _named_schema_error(value: dict[str, Any], name: str, inner: Schema, where: str) -> str | None:
    if name == "*":
        if not all(map(_text, value)):
            return f"{where} has a name that is no text"
        return next(filter(None, (schema_error(item, inner, f"a value of {where}") for item in value.values())), None)
    plain = name.removesuffix("?")
    if name != plain and value.get(plain) is None:
        return None
    return schema_error(value[plain], inner, plain) if plain in value else f"{where} lacks {plain}"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGE


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _text(value: Any) -> bool:
    return isinstance(value, str) and _is_utf8(value)


def _is_utf8(value: Any) -> bool:
    """Whether what it is shown as can be written."""
    return not any("\ud800" <= character <= "\udfff" for character in str(value))


def _share_or_null(value: Any) -> bool:
    return value is None or _share(value)


def _two(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_share, value))


_FIGURES = {f"{name}?": _number for name in ("mAP", "mAP50", "mAP75", "AR")}
_COUNTS = dict.fromkeys(("tp", "fp", "fn"), _count)
METRICS: Schema = {
    **_FIGURES,
    "per_class?": {"*": _FIGURES},
    "recommended?": {
        **dict.fromkeys(("precision", "recall", "f1", "iou_threshold", "score_threshold"), _share),
        "constraint?": _text,
        "interval?": {"*": _two},
    },
    "not_recommended?": _text,
    "counted_at?": _share,
    "pairs?": _count,
    "boxes?": _count,
    "unread?": [{"id": _text, "why": _text}],
    "errors?": {"*": _count},
    "calibration?": {
        "lowest_score?": _share_or_null,
        "expected_calibration_error?": _share,
        "bins?": [{"count": _count, "mean_score": _share_or_null, "precision": _share_or_null}],
    },
    "pairs_by_loss?": [{"id": _text, "loss": _number, **_COUNTS, "flagged?": lambda value: isinstance(value, bool)}],
    "flagged?": {
        "count": _count,
        "ids": [_text],
        "rule?": _text,
        "f1_flagged": _share_or_null,
        "f1_unflagged": _share_or_null,
    },
}
ASKED: Schema = {
    "trials?": _count,
    "max_epochs": _count,
    "grace": lambda value: _count(value) and value > 0,
    "reduction": lambda value: _number(value) and value > 1,
    "command?": _text,
    "identity?": {"*": _is_utf8},
    "*": _is_utf8,
}
NOTICES: Schema = [{"about": _text, "found": _text, "names": [_text], "advice": _text}]
ENVIRONMENT: Schema = {"resources?": {"*": _is_utf8}, "packages?": {"*": _is_utf8}, "*": _is_utf8}
