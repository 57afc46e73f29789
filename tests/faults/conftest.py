"""Searches that nothing disturbs, for those that faults are injected into to be compared with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.whole_search import TRIALS, Start


@pytest.fixture(scope="session")
def unbroken(
    request: pytest.FixtureRequest, start: Start, storage: Path, flags: tuple[Any, ...]
) -> Callable[[int], Path]:
    """The run folder of the search that nothing disturbed, of so many trials; made once."""
    made: dict[int, Path] = {}

    def unbroken(trials: int = TRIALS) -> Path:
        if trials == TRIALS:
            return request.getfixturevalue("complete")[0]
        if trials not in made:
            code, output = start(*flags, "--trials", trials, "--name", f"unbroken-{trials}").wait()
            assert code == 0, output
            made[trials] = storage / f"unbroken-{trials}"
        return made[trials]

    return unbroken
