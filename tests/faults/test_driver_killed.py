"""The driver gets SIGKILL: `--resume` ends as the search that nothing disturbed, also where files were damaged."""

import ctypes
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from results.journal.journal import read_journal, trial_records
from tests.whole_search import Search, assert_same_search

SEED = 11


PR_SET_CHILD_SUBREAPER = 36
ORPHANS_SECONDS = 30
"""After which no trial of a killed search may live: each looks once a second, on a machine that may be busy."""


@pytest.fixture
def orphans_taken_in() -> Iterator[None]:
    """This process is the next parent of orphans, as `systemd --user` and a search's supervisor are."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0
    for child in psutil.Process().children():
        if child.status() == psutil.STATUS_ZOMBIE:
            child.wait()


def kill_driver(search: Search) -> None:
    """Ends the driver alone; what it started finds out by itself."""
    os.kill(search.process.pid, signal.SIGKILL)
    assert search.process.wait() == -signal.SIGKILL


def assert_trials_end(search: Search) -> None:
    """The trials of a killed search do not go on."""
    deadline = time.monotonic() + ORPHANS_SECONDS
    while search.trials():
        assert time.monotonic() < deadline, "a trial has outlived its search"
        time.sleep(0.1)


def checkpoints_of_unfinished(run: Path) -> list[Path]:
    """The checkpoints that trials at work would go on from if the search were broken off now."""
    records = trial_records(read_journal(run / "journal.jsonl")) if (run / "journal.jsonl").exists() else []
    at_work = {record.number for record in records if record.status == "RUNNING"}
    found = []
    for progress in (run / "trials").glob("*/progress.json"):
        checkpoint = json.loads(progress.read_text())["checkpoint"]
        if checkpoint and int(progress.parent.name) in at_work:
            found.append(progress.parent / checkpoint["path"])
    return found


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.soak)])
def test_killed_at_random_moments_a_resumed_search_ends_as_the_unbroken_one(
    unbroken, start, flags, storage, tmp_path, orphans_taken_in, kills
):
    whole = unbroken()
    run = storage / f"driver-killed-{kills}"
    journal = run / "journal.jsonl"
    moments = random.Random(SEED)
    counts = sorted(moments.sample(range(6, len(read_journal(whole / "journal.jsonl"))), kills - 1))
    search = start(*flags, "--name", run.name, "--checkpoint-every", "0s", cache=tmp_path)

    # The first one damages a checkpoint, that of the reference, and the cache.
    search.wait_for_events(journal, 3)
    search.wait_for(lambda: checkpoints_of_unfinished(run), "checkpoint")
    search.kill()
    (checkpoint,) = checkpoints_of_unfinished(run)
    (checkpoint / "model.safetensors").write_bytes(b"damaged")
    (records,) = tmp_path.glob("moved-object-search/differences/*.records")
    with records.open("r+b") as file:
        file.write(b"damaged")
    search, said = start("--resume", run, cache=tmp_path), ""
    for count in counts:
        search.wait_for_events(journal, count)
        search.sleep(moments.uniform(0, 0.3))
        kill_driver(search)
        # At once: what is left of the killed search is still ending.
        killed, search = search, start("--resume", run, cache=tmp_path)
        assert_trials_end(killed)
        said += killed.wait()[1]
    code, output = search.wait()
    said += output
    assert code == 0, output
    assert f"{checkpoint} is damaged; its stage is trained again" in said
    assert f"{records} is damaged at " in said and "which is made anew" in said
    assert_same_search(whole, run)
    search.assert_all_gone()
