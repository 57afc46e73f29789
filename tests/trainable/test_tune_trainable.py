import dataclasses
import logging
import os
import socket

import pytest
import torch

import trainable.training.trial_process
import trainable.tune_trainable
from tests.s3 import BUSY
from trainable.recipe import Recipe, Stage
from trainable.reuse.config import ReuseConfig
from trainable.storage.remote import Remote
from trainable.training.trial_folder import TrialFolder
from trainable.training.trial_process import only_process
from trainable.tune_trainable import tune_trainable

RECIPE = Recipe((Stage("heads", ("box_head", "class_head"), epochs=2, learning_rate=1e-3),), accumulation_steps=2)


@pytest.fixture
def run(monkeypatch, tmp_path, pair_data, checkpoint):
    """Runs trial 7 and returns what Ray Tune was told."""

    def start(
        failure=None,
        checkpoint=checkpoint,
        stop_after=None,
        remote=None,
        gpus=0,
        reported=(),
        tell=lambda metrics: None,
    ):
        reports = []

        def report(metrics):
            tell(metrics)
            if "begun" in metrics:
                return
            reports.append(metrics)
            if len(reports) == stop_after:
                raise SystemExit  # as Ray ends a trial that ASHA stopped

        monkeypatch.setattr(trainable.tune_trainable.tune, "report", report)
        config = {"number": 7, "recipe": RECIPE, "folder": str(tmp_path / "0007"), "failure": failure}
        config["reported"] = list(reported)
        tune_trainable(config, pair_data, str(checkpoint), cpus=1, gpus=gpus, reuse=ReuseConfig(), run=remote)
        return reports

    trainable.tune_trainable._notes.take()  # What tests before this one have warned of.
    return start


def test_every_epoch_is_reported_with_its_trial(run, tmp_path):
    reports = run()
    history = TrialFolder(tmp_path / "0007", RECIPE).history
    assert [report["trial"] for report in reports] == [7, 7]
    place = {"node": socket.gethostname(), "pid": os.getpid()}
    assert [report["row"] for report in reports] == [dataclasses.replace(row, **place) for row in history]
    assert [(report["epoch"], report["val_loss"]) for report in reports] == [
        (row.epoch, row.val_loss) for row in history
    ]
    assert [row.final for row in history] == [False, True]


def test_what_a_trial_warns_of_goes_to_the_search_with_its_next_report(run):
    logging.getLogger("trainable.data.image_cache").warning("no room for %s", "images")
    assert [report["notes"] for report in run()] == [["no room for images"], []]


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
    again = run(reported=[report["row"] for report in unbroken])
    # Not the figures that may differ from one training to the next: those that were reported.
    assert [report["row"] for report in again] == [report["row"] for report in unbroken]
    assert "progress.json is damaged: " in again[0]["notes"][0]
    assert TrialFolder(tmp_path / "0007", RECIPE).best_weights.exists()


def test_a_trial_says_when_it_waits_for_another_process_of_its_own(run, tmp_path, monkeypatch):
    monkeypatch.setattr(trainable.training.trial_process, "FIRST_WORD_SECONDS", 0.0)
    with only_process(tmp_path / "0007", pytest.fail), pytest.raises(SystemExit):
        run(stop_after=1)
    assert not (tmp_path / "0007" / "recipe.yaml").exists(), "it has kept its hands off"
    assert [report["epoch"] for report in run()] == [1, 2]


class GoneError(BaseException):
    """The process of the trial has ended."""


@pytest.fixture
def ends(monkeypatch):
    """An end of the trial's process ends the trial alone."""

    def leave(code):
        raise GoneError

    monkeypatch.setattr(os, "_exit", leave)


def failing(monkeypatch, error):
    """Has trials fail in their training."""

    def train(recipe, pairs, checkpoint, folder, *_):
        folder.mkdir(parents=True, exist_ok=True)
        raise error

    monkeypatch.setattr(trainable.tune_trainable, "train_recipe", train)


def test_a_failing_trial_on_a_disk_that_takes_no_traceback_is_reported_all_the_same(run, tmp_path, monkeypatch):
    def disk_is_full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainable.tune_trainable, "write_atomically", disk_is_full)
    failing(monkeypatch, FloatingPointError("val_loss is nan"))
    (report,) = run()
    assert report["failure"] == "FloatingPointError: val_loss is nan"


def test_the_traceback_of_a_name_that_is_no_text_is_kept(run, tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("img\udcff.png")

    monkeypatch.setattr(trainable.tune_trainable, "train_recipe", fail)
    (report,) = run()
    assert report["failure"] == "ValueError: img\udcff.png"
    assert "img\\udcff.png" in (tmp_path / "0007" / "error.txt").read_text()


def test_a_failing_trial_is_reported_and_keeps_its_traceback(run, tmp_path, monkeypatch):
    failing(monkeypatch, FloatingPointError("val_loss is nan"))
    (report,) = run()
    assert report["failure"] == "FloatingPointError: val_loss is nan"
    assert report["trial"] == 7
    error = (tmp_path / "0007" / "error.txt").read_text()
    assert "Traceback" in error and "FloatingPointError" in error


def test_a_trial_says_first_that_it_has_begun(run, monkeypatch):
    failing(monkeypatch, FloatingPointError("val_loss is nan"))
    told = []
    run(tell=told.append)
    assert told[0]["begun"] and told[0]["trial"] == 7 and "failure" in told[1]


def test_a_model_that_is_not_there_is_the_nodes_fault_and_ends_its_process(run, ends, tmp_path):
    told = []
    with pytest.raises(GoneError):
        run(checkpoint=tmp_path / "nowhere", tell=told.append)
    assert told[-1]["node_fault"].startswith(f"cannot load what the search could: model {tmp_path / 'nowhere'}: ")
    assert "failure" not in told[-1] and not (tmp_path / "0007" / "error.txt").exists()


def test_a_gpu_that_ray_has_and_torch_has_not_is_the_nodes_fault(run, ends, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    told = []
    with pytest.raises(GoneError):
        run(gpus=1, tell=told.append)
    assert told[-1]["node_fault"].startswith("its GPU cannot be used: No CUDA GPUs are available to torch")


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
    assert remote.names("trials/0007") == ["progress.json", "recipe.yaml", "validation_terms.npz", "weights"]
    assert not left_here(tmp_path)


def test_the_traceback_of_a_failing_trial_is_in_the_storage(run, remote, monkeypatch):
    failing(monkeypatch, FloatingPointError("val_loss is nan"))
    (report,) = run(remote=remote)
    assert report["failure"].startswith("FloatingPointError: ")
    assert b"FloatingPointError" in remote.read("trials/0007/error.txt")


def test_a_cache_folder_that_cannot_be_written_is_the_nodes_fault(run, remote, ends, monkeypatch, tmp_path):
    (tmp_path / "a file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    told = []
    with pytest.raises(GoneError):
        run(remote=remote, tell=told.append)
    assert told[-1]["node_fault"].startswith(f"cannot write {tmp_path / 'a file'}")


def test_a_storage_that_cannot_be_reached_is_no_failure_of_the_trial(run, remote, s3):
    s3.failure = BUSY
    (report,) = run(remote=remote)
    assert "failure" not in report and "cannot be reached" in report["pause"]
