"""Searches that nothing disturbs, to compare those with that faults are injected into; and terminals for clusters."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.terminal import Terminal
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


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """A terminal whose home is the test's folder."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    opened = Terminal(tmp_path)
    yield opened
    opened.close()
