"""How options are written on the command line, and the command that asks for a search."""

import dataclasses
from decimal import Decimal
from typing import Any

from search.options import Options
from trainable.command_line import command_line
from trainable.remote import without_secrets

SWITCHED_OFF_BY = {
    "cache_pictures": "no_cache_pictures",
    "cache_layers": "no_cache_layers",
    "share": "no_share",
    "reuse_workers": "no_reuse",
}
"""Options that are true unless a parameter of the command line is given."""

DURATIONS = ("checkpoint_every", "time_budget")
"""Options in seconds, which the command line takes with a unit."""

OF_ONE_RUN = ("name", "forced")
"""Options that another run of the same search does not share: its name is taken, and there is nothing to force."""


def search_command(options: Options) -> str:
    """The command that starts the same search as a run of its own, without keys and passwords.

    Of the options that have a default, those that keep it are left out.
    """
    words: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name not in OF_ONE_RUN and value is not None and value != field.default:
            words += map(without_secrets, _flag(field.name, value))
    return command_line("search", *words)


def flag_of(parameter: str) -> str:
    """How a parameter of the command line is written there, such as `--max-epochs`."""
    return "--" + parameter.replace("_", "-")


def parameters_of(option: str) -> tuple[str, ...]:
    """The parameters of the command line that set an option."""
    own = SWITCHED_OFF_BY.get(option, option)
    return (own, "no_cache") if option == "cache_size" else (own,)


def _flag(option: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [flag_of(option if value else SWITCHED_OFF_BY[option])]
    return [flag_of(option), _seconds(value) if option in DURATIONS else str(value)]


def _seconds(value: float) -> str:
    """A duration as `parse_duration` reads it: to the last digit, without an exponent."""
    return f"{Decimal(str(value)).normalize():f}s"
