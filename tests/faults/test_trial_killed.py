"""A trial's process gets SIGKILL: the trial goes on from its last evaluation, or fails where it gets no further."""

import os
import random
import signal
from pathlib import Path

import pytest

from results.journal import read_journal
from tests.whole_search import Search, assert_same_search, reports_of, table_of

SEED = 5


def kill_trial(search: Search) -> int:
    """Ends the process that runs a trial, once there is one; returns its id."""
    (process, *_) = search.wait_for(search.trials, "a trial")
    os.kill(process, signal.SIGKILL)
    search.wait_for(lambda: process not in search.others(), "end of the killed process")
    return process


def wait_for_reports(search: Search, run: Path, count: int) -> None:
    search.wait_for(lambda: len(reports_of(run)) >= count, f"report {count}")


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_killed_at_random_moments_nothing_is_lost_or_doubled(unbroken, start, flags, storage, kills):
    whole = unbroken(trials=5 if kills < 10 else 16)
    run = storage / f"trial-killed-{kills}"
    search = start(*flags, "--trials", len(table_of(whole)), "--name", run.name)
    moments = random.Random(SEED)
    counts = sorted(moments.sample(range(1, len(reports_of(whole)) - 1), kills - 1))
    # The first before any evaluation; each of the others after a new one, which is what a death costs at most.
    killed = [kill_trial(search)]
    for count in counts:
        wait_for_reports(search, run, max(count, len(reports_of(run)) + 1))
        search.sleep(moments.uniform(0, 0.3))
        killed.append(kill_trial(search))
    code, output = search.wait()
    assert code == 0, output
    assert len(set(killed)) == kills
    assert output.count("its process died after epoch") > 0
    assert_same_search(whole, run)


def test_three_deaths_without_a_new_evaluation_in_between_fail_a_trial_alone(start, flags, storage):
    run = storage / "hopeless"
    search = start(*flags, "--trials", 2, "--max-epochs", 3, "--name", run.name)
    for _ in range(3):
        kill_trial(search)
    code, output = search.wait()
    assert code == 0, output
    assert "trial 0: its process died after epoch 0; it goes on from there" in output
    table = table_of(run)
    assert table["status"].tolist() == ["FAILED", "COMPLETED"]
    assert table["error"][0] == "its process died 3 times without a new evaluation in between"
    events = [(event["event"], event["trial"]) for event in read_journal(run / "journal.jsonl")]
    assert events[:3] == [("asked", 0), ("ended", 0), ("asked", 1)]
