"""The command that asks for a search."""

from dataclasses import MISSING
from decimal import Decimal

from search.option import default_of, described, flag_of, without_secrets_of
from search.options import Options
from trainable.text.command_line import command_line

OF_ONE_RUN = ("name", "forced", "bounded", "numbered", "earlier")
"""Options that another run of the same search does not share: its name is taken, there is nothing to force, its
sampler is the present one, and it reads earlier runs anew."""


def search_command(options: Options) -> str:
    """The command that starts the same search as a run of its own, without keys and passwords.

    Of the options that have a default, those that keep it are left out; the others come after those that have none.
    """
    words: list[str] = []
    for field, option in sorted(described(options), key=lambda one: one[0].default is not MISSING):
        value = getattr(options, field.name)
        is_default = field.default is not MISSING and value == default_of(field, option)
        if field.name in OF_ONE_RUN or value is None or is_default:
            continue
        for each in value if isinstance(value, list) else [value]:
            text = duration_text(each) if option.duration else str(each)
            flag = flag_of(option.switch or field.name)
            words += [flag] if option.switch else [flag, without_secrets_of(option, text)]
    return command_line("search", *words)


def duration_text(seconds: float) -> str:
    """A duration as `parse_duration` reads it: to the last digit, without an exponent."""
    return f"{Decimal(str(seconds)).normalize():f}s"
