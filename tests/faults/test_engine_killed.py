"""Ray's own processes or the search's get SIGKILL: the one command that was given ends as if nothing had been."""

import random
from pathlib import Path

import pytest

from tests.whole_search import assert_same_search, reports_of, table_of

SEED = 17

IN_CI = ("raylet", "search", "raylet", "dashboard agent", "raylet", "runtime env agent")
IN_SOAK = ("raylet",) * 10


@pytest.mark.parametrize("victims", [IN_CI, pytest.param(IN_SOAK, marks=pytest.mark.soak)], ids=len)
def test_killed_at_random_moments_the_search_goes_on_by_itself(unbroken, start, flags, storage, victims):
    whole: Path = unbroken(trials=5 if len(victims) < 10 else 16)
    run = storage / f"engine-killed-{len(victims)}"
    moments = random.Random(SEED)
    # Each after a new epoch: three in a row without one are taken for a fault that stays.
    # In its first half: a search does some more until it notices.
    counts = sorted(moments.sample(range(1, len(reports_of(whole)) // 2), len(victims)))
    search = start(*flags, "--trials", len(table_of(whole)), "--name", run.name)
    for victim, count in zip(victims, counts, strict=True):
        before = len(reports_of(run))
        search.wait_for(lambda: len(reports_of(run)) >= max(count, before + 1), f"report {count}")  # noqa: B023
        search.sleep(moments.uniform(0, 0.3))
        search.kill_one(victim)
    code, output = search.wait()
    assert code == 0, output
    assert output.count("it goes on by itself from its journal") == len(victims)
    assert "[state-dump]" not in output, "a page of Ray's own"
    assert_same_search(whole, run)
    search.assert_all_gone()
