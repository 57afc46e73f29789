"""Rounds of the Tuner: what a trial finished while it was stopped is kept, and a search that gets nowhere ends."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from search.cluster.cluster import Resources
from search.options import Options
from search.tuner import IDLE_ROUNDS, SearchPausedError, run_trials
from trainable.training.progress import Progress


@pytest.fixture
def rounds(search, tmp_path, monkeypatch) -> Callable[..., Any]:
    """Runs rounds, each of which is a call of `fit` with the searcher in Ray's place; gives the study."""
    started = search()

    def run(
        fit: Callable[[Any], None],
        time_left: Callable[[], float | None] = lambda: None,
        storage: str | None = None,
        say: Callable[[str], None] = lambda note: None,
    ) -> Any:
        def tuner(options: Options, resources: Resources, searcher: Any, *_: Any) -> Any:
            started.searcher = started.scheduler.searcher = searcher
            return SimpleNamespace(fit=lambda: fit(started))

        monkeypatch.setattr("search.tuner._tuner", tuner)
        options = Options(
            "flat", None, "embedded", 2, 8, 2, storage or str(tmp_path.parent), tmp_path.name, cache_size=0
        )
        run_trials(options, Resources(1, 0, 1), started.study, None, lambda: None, say, time_left)
        return started.study

    return run


def test_a_search_ends_when_its_trials_have(rounds):
    study = rounds(lambda started: started.run_trial())
    assert [record.status for record in study.records.values()] == ["COMPLETED"] * 2


def test_an_epoch_finished_while_the_time_ran_out_is_taken_in(rounds, row, report, tmp_path):
    def fit(started):
        trial = started.start_trial()
        started.searcher.on_trial_result(trial.trial_id, report(1, 3.0))
        folder = tmp_path / "trials" / "0000"
        folder.mkdir(parents=True)
        # Only the weights of epoch 2 are on disk now: the journal as it is would name those of epoch 1 as the best.
        Progress([row(1, 3.0), row(2, 2.0)], None, {}).write(folder)

    times = iter([10.0, -1.0])
    study = rounds(fit, lambda: next(times))
    assert study.records[0].best.epoch == 2 and study.records[0].status == "RUNNING"
    assert [event.kind for event in study.journal.events] == ["asked", "reported", "reported"]


def test_an_epoch_that_a_worker_elsewhere_finished_is_taken_in_from_the_storage(rounds, row, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    storage = (tmp_path / "storage").as_uri()

    def fit(started):
        started.start_trial()
        folder = tmp_path / "storage" / tmp_path.name / "trials" / "0000"
        folder.mkdir(parents=True)
        Progress([row(1, 3.0)], None, {}).write(folder)

    times = iter([10.0, -1.0])
    study = rounds(fit, lambda: next(times), storage)
    assert [event.kind for event in study.journal.events] == ["asked", "reported"]


@pytest.mark.parametrize("data", [b"", b"[]", b'{"history": "none"}', b"\xff", b'{"history": [{"epoch": 1}]}'])
def test_damaged_progress_is_said_and_what_the_journal_holds_stands(rounds, report, tmp_path, data):
    said = []

    def fit(started):
        trial = started.start_trial()
        started.searcher.on_trial_result(trial.trial_id, report(1, 3.0))
        folder = tmp_path / "trials" / "0000"
        folder.mkdir(parents=True)
        (folder / "progress.json").write_bytes(data)

    times = iter([10.0, -1.0])
    study = rounds(fit, lambda: next(times), say=said.append)
    assert [event.kind for event in study.journal.events] == ["asked", "reported"]
    (line,) = said
    assert line.startswith(f"trial 0: {tmp_path / 'trials' / '0000' / 'progress.json'} is damaged: ")


def test_a_search_that_gets_nowhere_gives_up(rounds):
    fits = []
    study = rounds(fits.append)
    assert len(fits) == IDLE_ROUNDS and not study.records


def test_no_round_is_started_when_the_time_is_over(rounds):
    assert not rounds(lambda started: pytest.fail("a round was started"), lambda: 0.0).records


def test_a_search_that_pauses_says_why(rounds):
    with pytest.raises(SearchPausedError, match="the disk is full"):
        rounds(lambda started: setattr(started.searcher, "pause", "the disk is full"))
