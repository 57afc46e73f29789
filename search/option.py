"""One description of an option, from which the command line, `search.yaml` and the repeat command are made."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
REQUIRED: Any = dataclasses.MISSING


class Rule(NamedTuple):
    """What a value that is not None keeps to, and how that is told."""

    holds: Callable[[Any], bool]
    words: str


@dataclass(frozen=True)
class Option:
    """What a field says of itself beside its name, type and default."""

    panel: "Panel"
    help: str
    rule: Rule | None = None
    flag_default: Any = None
    """The command line's default of a required field; None where it depends on more than the flag."""
    shown: str = ""
    """How the help shows a default of None."""
    switch: str = ""
    """The parameter that turns a truth value over; others are set by a value behind their own name."""
    zero: tuple[str, str] | None = None
    """A second parameter, which stands for 0, and its help."""
    duration: bool = False
    """In seconds; the command line takes it with a unit."""
    location: bool = False
    """A path or URI: made absolute when it is given, kept without keys and passwords."""
    beside_resume: bool = False
    """Changes where and how much is run or what is recommended, not what a trial gives."""


@dataclass(frozen=True)
class Panel:
    """A part of the help, which makes the fields that it shows as options; the arguments are those of `Option`."""

    title: str

    def option(self, help: str, default: T = REQUIRED, rule: Rule | None = None, **more: Any) -> T:
        """An option that a run keeps."""
        metadata = {"option": Option(self, help, rule, **more)}
        return dataclasses.field(default=default, kw_only=default is not REQUIRED, metadata=metadata)

    def changeable(self, help: str, default: T = REQUIRED, rule: Rule | None = None, **more: Any) -> T:
        """An option that may be given beside --resume."""
        return self.option(help, default, rule, beside_resume=True, **more)


def described(options: Any) -> list[tuple[dataclasses.Field[Any], Option]]:
    """The fields of a dataclass, or of an object of one, that are options."""
    return [(field, field.metadata["option"]) for field in dataclasses.fields(options) if "option" in field.metadata]


def broken_rules(options: Any) -> list[str]:
    """A line for each option that breaks its rule: the flag, the rule and the value."""
    given = [(field.name, option, getattr(options, field.name)) for field, option in described(options)]
    return [
        f"{flag_of(name)}: {option.rule.words}, got {_shown(value)}{'s' if option.duration else ''}"
        for name, option, value in given
        if option.rule and value is not None and not option.rule.holds(value)
    ]


def flag_of(parameter: str) -> str:
    """How a parameter of the command line is written there, such as `--max-epochs`."""
    return "--" + parameter.replace("_", "-")


def at_least(least: int, unit: str = "") -> Rule:
    """A finite number from `least` on."""
    return Rule(lambda value: least <= value < math.inf, f"{unit}at least {least}")


def one_of(names: Sequence[str]) -> Rule:
    """A word out of several."""
    return Rule(lambda value: value in names, f"one of {', '.join(names)}")


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else repr(value)
