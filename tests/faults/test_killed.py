"""A trial's process, Ray's own or the search's gets SIGKILL: the one command ends as if nothing had been."""

import random
from pathlib import Path

import pytest

from tests.whole_search import assert_same_search, reports_of, table_of

SEED = 17
EPOCH_SECONDS = 0.1
"""About so long an epoch takes, within which a moment is drawn; what is killed after more has little left to do."""

IN_CI = ("trial", "raylet", "trial", "search", "dashboard agent", "trial", "runtime env agent")
RAYLETS_IN_SOAK, TRIALS_IN_SOAK = ("raylet",) * 10, ("trial",) * 20


@pytest.mark.parametrize(
    "victims",
    [
        IN_CI,
        pytest.param(RAYLETS_IN_SOAK, marks=pytest.mark.soak),
        pytest.param(TRIALS_IN_SOAK, marks=pytest.mark.soak),
    ],
    ids=len,
)
def test_killed_at_random_moments_the_search_goes_on_by_itself(unbroken, start, flags, storage, victims):
    # A search does a few epochs more until it notices.
    whole: Path = unbroken(trials=5 if victims == IN_CI else len(victims) * 3 // 2)
    run = storage / f"killed-{len(victims)}"
    moments = random.Random(SEED)
    # The first before any evaluation. Each of the others after a new one: three deaths in a row without one are taken
    # for a fault that stays. In the search's first half, so that the last one is in time.
    counts = [0, *sorted(moments.sample(range(1, len(reports_of(whole)) // 2), len(victims) - 1))]
    search = start(*flags, "--trials", len(table_of(whole)), "--name", run.name)
    trials = []
    for victim, count in zip(victims, counts, strict=True):
        if count:
            before = len(reports_of(run))
            search.wait_for(lambda: len(reports_of(run)) >= max(count, before + 1), f"report {count}")  # noqa: B023
            search.sleep(moments.uniform(0, EPOCH_SECONDS))
        if victim == "trial":
            trials.append(search.kill_trial())
        else:
            search.kill_one(victim)
    code, output = search.wait()
    assert code == 0, output
    assert output.count("it goes on by itself from its journal") == len(victims) - len(trials)
    assert len(set(trials)) == victims.count("trial")
    assert not trials or "its process died after epoch" in output
    assert "[state-dump]" not in output, "a page of Ray's own"
    assert_same_search(whole, run)
    search.assert_all_gone()
