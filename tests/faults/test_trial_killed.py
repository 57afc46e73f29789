"""A trial's process gets SIGKILL: the trial goes on from its last evaluation."""

import random
from pathlib import Path

import pytest

from tests.whole_search import Search, assert_same_search, reports_of, table_of

SEED = 5


def wait_for_reports(search: Search, run: Path, count: int) -> None:
    search.wait_for(lambda: len(reports_of(run)) >= count, f"report {count}")


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_at_random_moments_nothing_is_lost_or_doubled(unbroken, start, flags, storage, kills):
    whole = unbroken(trials=5 if kills < 10 else 16)
    run = storage / f"trial-killed-{kills}"
    search = start(*flags, "--trials", len(table_of(whole)), "--name", run.name)
    moments = random.Random(SEED)
    counts = sorted(moments.sample(range(1, len(reports_of(whole)) * 3 // 4), kills - 1))
    # The first before any evaluation; each of the others after a new one, which is what a death costs at most.
    killed = [search.kill_trial()]
    for count in counts:
        wait_for_reports(search, run, max(count, len(reports_of(run)) + 1))
        search.sleep(moments.uniform(0, 0.3))
        killed.append(search.kill_trial())
    code, output = search.wait()
    assert code == 0, output
    assert len(set(killed)) == kills
    assert "its process died after epoch" in output
    assert_same_search(whole, run)
