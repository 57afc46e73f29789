"""Numbers as files write them."""

import math
from typing import Any


def numbers(values: Any, count: int) -> tuple[float, ...] | None:
    """So many finite numbers of a list, which may be written as texts; None where that is not what it is."""
    if not isinstance(values, list | tuple) or len(values) != count:
        return None
    try:
        found = tuple(float(value) for value in values if not isinstance(value, bool))
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and all(map(math.isfinite, found)) else None
