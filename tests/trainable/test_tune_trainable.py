import logging

import pytest

import trainable.trial_process
import trainable.tune_trainable
from tests.s3 import BUSY
from trainable.economy import Economy
from trainable.recipe import Recipe, Stage
from trainable.remote import Remote
from trainable.trial_folder import TrialFolder
from trainable.trial_process import only_process
from trainable.tune_trainable import tune_trainable

RECIPE = Recipe((Stage("heads", ("box_head", "class_head"), epochs=2, learning_rate=1e-3),), accumulation_steps=2)


@pytest.fixture
def run(monkeypatch, tmp_path, pair_data, checkpoint):
    """Runs trial 7 and returns what Ray Tune was told."""

    def start(failure=None, checkpoint=checkpoint, stop_after=None, remote=None, reported=()):
        reports = []

        def report(metrics):
            reports.append(metrics)
            if len(reports) == stop_after:
                raise SystemExit  # as Ray ends a trial that ASHA stopped

        monkeypatch.setattr(trainable.tune_trainable.tune, "report", report)
        config = {"number": 7, "recipe": RECIPE.to_dict(), "folder": str(tmp_path / "0007"), "failure": failure}
        config["reported"] = list(reported)
        tune_trainable(config, pair_data, str(checkpoint), cpus=1, gpus=0, economy=Economy(), run=remote)
        return reports

    return start


def test_every_epoch_is_reported_with_its_trial(run, tmp_path):
    reports = run()
    history = TrialFolder(tmp_path / "0007", RECIPE).history
    assert [report["trial"] for report in reports] == [7, 7]
    assert [{name: report[name] for name in row} for report, row in zip(reports, history, strict=True)] == history
    assert [report["final"] for report in reports] == [False, True]


def test_what_a_trial_warns_of_goes_to_the_search_with_its_next_report(run):
    logging.getLogger("trainable.data.store").warning("no room for %s", "pictures")
    assert [report["notes"] for report in run()] == [["no room for pictures"], []]


def test_a_trial_that_is_started_again_reports_its_history_first(run):
    unbroken = run()
    assert [report["epoch"] for report in run()] == [1, 2]
    assert run() == unbroken


def test_a_stopped_trial_ends_without_a_failure(run, tmp_path):
    with pytest.raises(SystemExit):
        run(stop_after=1)
    assert not (tmp_path / "0007" / "error.txt").exists()
    assert [report["epoch"] for report in run()] == [1, 2]


def test_a_trial_without_a_recipe_says_why(run, tmp_path):
    (report,) = run(failure="RecipeError: no epochs")
    assert (report["trial"], report["failure"]) == (7, "RecipeError: no epochs")
    assert not (tmp_path / "0007").exists()


def test_what_the_search_knows_stands_where_the_folder_has_lost_it(run, tmp_path):
    unbroken = run()
    (tmp_path / "0007" / "progress.json").write_text("{")
    again = run(reported=unbroken)
    # Not the figures that may differ from one training to the next: those that were reported.
    assert [report["seconds"] for report in again] == [report["seconds"] for report in unbroken]
    assert "progress.json is damaged: " in again[0]["notes"][0]
    assert TrialFolder(tmp_path / "0007", RECIPE).best_weights.exists()


def test_a_trial_says_when_it_waits_for_another_process_of_its_own(run, tmp_path, monkeypatch):
    monkeypatch.setattr(trainable.trial_process, "FIRST_WORD_SECONDS", 0.0)
    with only_process(tmp_path / "0007", pytest.fail), pytest.raises(SystemExit):
        run(stop_after=1)
    assert not (tmp_path / "0007" / "recipe.yaml").exists(), "it has kept its hands off"
    assert [report["epoch"] for report in run()] == [1, 2]


def test_a_failing_trial_on_a_disk_that_takes_no_traceback_is_reported_all_the_same(run, tmp_path, monkeypatch):
    def disk_is_full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainable.tune_trainable, "write_atomically", disk_is_full)
    (report,) = run(checkpoint=tmp_path / "nowhere")
    assert report["failure"].startswith("ModelError: ")


def test_the_traceback_of_a_name_that_is_no_text_is_kept(run, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("img\udcff.png")

    monkeypatch.setattr(trainable.tune_trainable, "train_recipe", fail)
    (report,) = run()
    assert report["failure"] == "ValueError: img\udcff.png"
    assert "img\\udcff.png" in (tmp_path / "0007" / "error.txt").read_text()


def test_a_failing_trial_is_reported_and_keeps_its_traceback(run, tmp_path):
    (report,) = run(checkpoint=tmp_path / "nowhere")
    assert report["failure"].startswith(f"ModelError: model {tmp_path / 'nowhere'}: ")
    assert report["trial"] == 7
    error = (tmp_path / "0007" / "error.txt").read_text()
    assert "Traceback" in error and "ModelError" in error


@pytest.fixture
def remote(s3, request, monkeypatch, tmp_path):
    """A run in a storage, to which this machine has never been."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Remote(s3.uri(f"bucket/{request.node.name}"), retry_seconds=0)


def left_here(tmp_path):
    return [path for path in (tmp_path / "cache").glob("*/runs/**/*") if path.is_file()]


def test_a_trial_of_a_run_in_a_storage_leaves_everything_there_and_nothing_here(run, remote, tmp_path):
    with pytest.raises(SystemExit):
        run(stop_after=1, remote=remote)
    assert not left_here(tmp_path) and not (tmp_path / "0007").exists()
    assert [report["epoch"] for report in run(remote=remote)] == [1, 2]
    assert remote.names("trials/0007") == ["progress.json", "recipe.yaml", "weights"]
    assert not left_here(tmp_path)


def test_the_traceback_of_a_failing_trial_is_in_the_storage(run, remote, tmp_path):
    (report,) = run(checkpoint=tmp_path / "nowhere", remote=remote)
    assert report["failure"].startswith("ModelError: ")
    assert b"ModelError" in remote.read("trials/0007/error.txt")


def test_a_storage_that_cannot_be_reached_is_no_failure_of_the_trial(run, remote, s3):
    s3.failure = BUSY
    (report,) = run(remote=remote)
    assert "failure" not in report and "cannot be reached" in report["pause"]
