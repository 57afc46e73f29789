"""One description of an option, from which the command line, `search.yaml` and the repeat command are made."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, create_model

from trainable.storage.remote import without_secrets
from trainable.text.validation import Rule, rule

T = TypeVar("T")
REQUIRED: Any = dataclasses.MISSING


@dataclass(frozen=True)
class Option:
    """What a field says of itself beside its name, type and default."""

    panel: "Panel"
    help: str
    rule: Rule | None = None
    flag_default: Any = None
    """The command line's default, where that is another than the field's: of a required one, None where it depends on
    more than the flag; of another, what a new run takes where the field's is what earlier versions did."""
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
    several: bool = False
    """Locations with commas between them."""
    repeated: bool = False
    """The flag may be given several times; its values are a list then."""
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


def default_of(field: dataclasses.Field[Any], option: Option) -> Any:
    """What the command line takes where a field's flag is not given; None where it depends on more than the flag."""
    return option.flag_default if option.flag_default is not None or field.default is REQUIRED else field.default


@cache
def rules_of(kind: type[Any]) -> TypeAdapter[Any]:
    """The types and rules of a dataclass's fields, options or not; None keeps to every rule."""
    typed: dict[str, Any] = {}
    for field in dataclasses.fields(kind):
        option = field.metadata.get("option")
        of_type = Annotated[field.type, option.rule] if option and option.rule else field.type
        typed[field.name] = of_type, ... if field.default is REQUIRED else None
    return TypeAdapter(create_model(kind.__name__, __config__=ConfigDict(strict=True, allow_inf_nan=False), **typed))


def without_secrets_of(option: Option, location: str) -> str:
    """What an option was given, or the locations of it, without keys and passwords."""
    return ",".join(map(without_secrets, location.split(","))) if option.several else without_secrets(location)


def flag_of(parameter: str) -> str:
    """How a parameter of the command line is written there, such as `--max-epochs`."""
    return "--" + parameter.replace("_", "-")


def kept_to(holds: Callable[[Any], bool], words: str) -> Rule:
    """A rule of an option, and how it is told."""
    return rule(lambda value: value is None or holds(value), words)


def at_least(least: int, unit: str = "") -> Rule:
    """A number from `least` on."""
    return kept_to(lambda value: value >= least, f"{unit}at least {least}")


def one_of(names: Sequence[str]) -> Rule:
    """A word out of several."""
    return kept_to(lambda value: value in names, f"one of {', '.join(names)}")
