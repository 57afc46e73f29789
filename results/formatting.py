"""Numbers as a person reads them."""

import math
from collections.abc import Mapping
from typing import Any

MOST_UNREAD = 5
"""Pairs that could not be read, of which it is said why."""


def figure(value: float | None, digits: int = 4) -> str:
    """A value to so many significant digits, such as `0.4123` or `3e-05`; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.{digits}g}" if abs(value) < 1e-3 or abs(value) >= 1e5 else _fixed(value, digits)


def ratio(value: float | None) -> str:
    """A value in [0, 1], such as a precision, to three decimals."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.3f}"


def setting(value: Any) -> str:
    """A hyperparameter to three significant digits, without zeros at the end; texts as they are."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value:.3g}" if is_number and not isinstance(value, int) else str(value)


def percent(share: float) -> str:
    """A share as whole percent, with a decimal below 10 %."""
    return f"{100 * share:.1f} %" if 0 < abs(share) < 0.0995 else f"{100 * share:.0f} %"


def duration(seconds: float) -> str:
    """Seconds as 45 s, 3 min 7 s, 2 h 5 min or 3 d 4 h."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = whole // 60
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 1440 else f"{minutes // 1440} d {minutes // 60 % 24} h"


def gib(size: float) -> str:
    """Bytes of memory, such as `6.1 GiB`."""
    return f"{size / 2**30:.1f} GiB"


def change(value: float, base: float) -> str:
    """How `value` stands to `base`, such as `12 % lower` or `90 times as high`; in words where they are equal."""
    if math.isclose(value, base, rel_tol=5e-4):
        return "the same"
    if not base:
        return "higher" if value > 0 else "lower"
    if value >= 10 * base > 0:
        return f"{value / base:,.0f} times as high"
    return f"{percent(abs(value - base) / abs(base))} {'lower' if value < base else 'higher'}"


def count(number: int, noun: str) -> str:
    """A number with its noun, such as `1 trial` or `10,000 trials`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def cameras(metrics: Mapping[str, Any]) -> str:
    """How many pairs' cameras moved, in a sentence; nothing where pairs are not registered."""
    found = metrics.get("cameras")
    if not found:
        return ""
    pairs = count(metrics["pairs"], "pair")
    said = f"the camera moved in {found['moved']} of {pairs}, which were registered"
    if not found["moved"]:
        said = f"the camera moved in none of {pairs}"
    if found["not_registered"]:
        said += f"; used as they are, since they cannot be registered: {count(found['not_registered'], 'pair')}"
    return said


def unread(metrics: Mapping[str, Any]) -> str | None:
    """What `metrics.json` says of pairs that could not be read any more; None where all were."""
    rows = metrics.get("unread") or []
    if not rows:
        return None
    more = f"; and {count(len(rows) - MOST_UNREAD, 'more pair')}" if len(rows) > MOST_UNREAD else ""
    why = "; ".join(row["why"] for row in rows[:MOST_UNREAD])
    return (
        f"{count(len(rows), 'pair')} could not be read any more: left out of the figures, but for the losses, in which "
        f"others stand in. {why}{more}"
    )


def _fixed(value: float, digits: int) -> str:
    """So many significant digits without an exponent."""
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:.{decimals}f}"
