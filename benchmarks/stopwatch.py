"""Where a program's time goes, told by wrapping some of its functions."""

import functools
import time
from typing import Any


class Stopwatch:
    """Seconds spent in watched functions; what a watched function takes inside another counts for the inner one only.

    For one thread.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    def watch(self, label: str, owner: Any, *names: str) -> None:
        """Counts each call of `owner`'s functions of these names, for good.

        Args:
            label: what to count it as; several functions may share one.
            owner: a module or a class.
            names: of its functions.
        """
        for name in names:
            setattr(owner, name, self._watched(label, getattr(owner, name)))

    def reset(self) -> None:
        """Starts from nothing."""
        self.seconds.clear()

    def _watched(self, label: str, function: Any) -> Any:
        @functools.wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            started = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                taken = time.perf_counter() - started
                own = taken - self._inner.pop()
                self._inner[-1] += taken
                self.seconds[label] = self.seconds.get(label, 0.0) + own

        return watched


def print_shares(seconds: dict[str, float], whole: float, rest: str) -> None:
    """Prints a row for each part of `whole` seconds, the greatest first, and what is left over as `rest`."""
    parts = {**seconds, rest: whole - sum(seconds.values())}
    for label, taken in sorted(parts.items(), key=lambda part: -part[1]):
        print(f"  {label:<42} {taken:8.2f} s  {taken / whole:6.1%}")
