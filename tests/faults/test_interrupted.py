"""Two searches of one name; then Ctrl-C, once and twice, as a terminal sends it: to all processes of the search."""

import os
import signal
import time
from pathlib import Path

from tests.whole_search import MAX_EPOCHS, TRIALS, Search, assert_same_search, reports_of, table_of


def press_ctrl_c(search: Search) -> None:
    os.killpg(search.process.pid, signal.SIGINT)


def first_at_work(searches: list[Search]) -> Search:
    """The search that is the first to run a trial."""
    while not (at_work := [search for search in searches if search.trials()]):
        assert any(search.process.poll() is None for search in searches), [search.wait() for search in searches]
        time.sleep(0.02)
    return at_work[0]


def resume_command(run: Path) -> str:
    return f"python search/run.py --resume {run}"


def test_interrupted_once_renamed_and_interrupted_twice_a_search_ends_as_the_unbroken_one(
    unbroken, start, flags, storage
):
    whole = unbroken()
    before = storage / "interrupted"
    # Of two at once one is refused, and the other does not notice.
    twins = [start(*flags, "--name", before.name) for _ in range(2)]
    once = first_at_work(twins)
    once.wait_for(lambda: len(reports_of(before)) > 2, "report 3")
    press_ctrl_c(once)
    code, output = once.wait()
    assert code == 130, output
    assert output.splitlines()[-1] == resume_command(before)
    assert f"interrupted after 0 of {TRIALS} trials; all of it is kept. Go on with:" in output
    once.assert_all_gone()
    (code, refusal), *_ = (twin.wait() for twin in twins if twin is not once)
    assert code == 2, refusal
    assert refusal.startswith(f"--name interrupted: {before} is taken; choose another name, or go on with --resume ")
    table = table_of(before)
    assert table["status"].tolist() == ["RUNNING"] and table["epochs"].tolist() == [len(reports_of(before))]

    run = before.rename(before.with_name("renamed"))
    twice = start("--resume", run)
    twice.wait_for(lambda: len(reports_of(run)) > MAX_EPOCHS, "report of trial 1")
    while twice.process.poll() is None:
        press_ctrl_c(twice)
        twice.sleep(0.1)
    code, output = twice.wait()
    assert code == 130, output
    assert "stopped at once; all that was reported is kept. Go on with:" in output and "Traceback" not in output
    assert output.splitlines()[-1] == resume_command(run)
    twice.assert_all_gone()

    (storage / "moved").mkdir()
    run = run.rename(storage / "moved" / "elsewhere")
    code, output = start("--resume", run).wait()
    assert code == 0, output
    assert_same_search(whole, run)
