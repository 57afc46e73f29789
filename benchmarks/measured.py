"""What a benchmark has measured: kept in a file, so that the same command goes on, and told with intervals."""

import json
import math
from collections import UserDict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from scipy.stats import t


class Log(UserDict[str, Any]):
    """Measurements by what they are of, each written down as soon as it is set.

    Args:
        path: the file, a JSON line for each; what it holds already is there from the start. None keeps nothing.
    """

    def __init__(self, path: Path | None):
        super().__init__()
        self._path = path
        if path and path.exists():
            self.data = dict(map(json.loads, path.read_text().splitlines()))

    def __setitem__(self, of: str, measured: Any) -> None:
        super().__setitem__(of, measured)
        if self._path:
            with self._path.open("a") as file:
                file.write(json.dumps([of, measured]) + "\n")


def interval(values: Sequence[float]) -> str:
    """Mean and the half of its 95 % interval (Student's t)."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = t.ppf(0.975, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return f"{mean(values):.3f} ± {half:.3f}"
