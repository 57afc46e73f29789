import contextlib
import dataclasses
import json
import logging
import math
import shutil
import threading
from concurrent.futures import wait
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import DetrConfig

import trainable.training.progress
from tests.made_up import trained_row
from tests.s3 import BUSY
from trainable.recipe import PARTS, Recipe, RecipeError, Stage
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote, StorageError
from trainable.training.progress import ProgressError, read_progress
from trainable.training.trial_folder import TrialFolder, drop_checkpoints, drop_weights
from trainable.training.validation_terms import read_terms

RECIPE = Recipe((Stage("a", ("class_head",), epochs=3, learning_rate=1e-3), Stage("b", PARTS, 2, 1e-4)))
PATIENT = dataclasses.replace(RECIPE, patience=2)


def history_of(*stages):
    """Rows of stages that are given as lists of `val_loss`."""
    losses = [(stage, loss) for stage, losses in enumerate(stages) for loss in losses]
    return [trained_row(epoch, loss, stage=stage) for epoch, (stage, loss) in enumerate(losses, start=1)]


def plain(*rows):
    """Rows as the file has them."""
    return [row.to_dict() for row in rows]


class FakeModel(torch.nn.Module):
    """Has one number in its class head."""

    def __init__(self, number):
        super().__init__()
        self.config = DetrConfig()
        self.class_labels_classifier = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.class_labels_classifier.weight, number)


def checkpoint_in(path, row):
    """A Trainer checkpoint of this row's moment."""
    checkpoint = path / f"stage-{row.stage}" / f"checkpoint-{row.epoch}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_text(f"epoch {row.epoch}")
    return checkpoint


def committed(path, history, recipe=RECIPE, checkpoints=True, mirror=None):
    """The folder of a trial that was broken off after each epoch of this history, a checkpoint at the end of each.

    An epoch's weights are its number.
    """
    trial = TrialFolder(path, recipe, mirror)
    for row in history[len(trial.history) :]:
        trial.commit(row, FakeModel(row.epoch))
        if checkpoints:
            trial.checkpoint_written(checkpoint_in(path, row), row.stage)
        trial.close()
        trial = TrialFolder(path, recipe, mirror)
    return trial


class SlowDisk:
    """Takes a checkpoint when it is told to."""

    def __init__(self, monkeypatch):
        self._turns = threading.Semaphore(0)
        durable = TrialFolder._durable

        def durable_when_told(folder, path, stage):
            self._turns.acquire()
            return durable(folder, path, stage)

        monkeypatch.setattr(TrialFolder, "_durable", durable_when_told)

    def take(self, trial):
        """Returns when the checkpoint on its way has been taken."""
        self._turns.release()
        wait([trial._pending])


@pytest.fixture
def slow_disk(monkeypatch):
    return SlowDisk(monkeypatch)


def checkpoints_in(path):
    return {folder.name for folder in path.glob("stage-*/checkpoint-*")}


def disk_is_full(path, text):
    raise OSError(28, "No space left on device")


def number_in(path):
    return int(load_file(path)["class_labels_classifier.weight"].item())


def kept_weights(path):
    return {number_in(file) for file in (path / "weights").iterdir()}


def test_a_folder_read_again_knows_what_was_committed(tmp_path):
    history = history_of([3, 2], [])
    trial = committed(tmp_path, history)
    again = TrialFolder(tmp_path, RECIPE)
    assert again.history == trial.history == history
    assert (again.next_stage(), again.checkpoint_of(0)) == (0, tmp_path / "stage-0" / "checkpoint-2")
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == RECIPE


def test_a_stage_starts_from_the_best_of_the_stage_before_and_goes_on_from_its_own_checkpoint(tmp_path):
    assert TrialFolder(tmp_path / "new", RECIPE).start_weights(0) is None
    history = history_of([3, 1, 2], [4, 5])
    trial = committed(tmp_path / "trial", history[:2])
    assert trial.checkpoint_of(0) == trial.path / "stage-0" / "checkpoint-2"
    trial = committed(tmp_path / "trial", history[:3])
    assert (trial.next_stage(), trial.checkpoint_of(1)) == (1, None)
    assert number_in(trial.start_weights(1)) == 2
    trial = committed(tmp_path / "trial", history[:4])
    assert trial.checkpoint_of(1) == trial.path / "stage-1" / "checkpoint-4"
    trial = committed(tmp_path / "trial", history)
    assert trial.next_stage() is None


def test_a_history_that_is_ahead_of_the_checkpoint_stands(tmp_path):
    history = history_of([3, 2, 1])
    committed(tmp_path, history[:1])
    committed(tmp_path, history[1:2], checkpoints=False)
    trial = committed(tmp_path, history[:2], checkpoints=False)
    assert trial.history == history[:2]
    assert trial.checkpoint_of(0) == tmp_path / "stage-0" / "checkpoint-1"
    trial.commit(dataclasses.replace(history[1], val_loss=7.0), FakeModel(9))
    assert TrialFolder(tmp_path, RECIPE).history == history[:2]
    assert kept_weights(tmp_path) == {2}


def test_the_last_checkpoint_and_the_best_weights_of_all_and_of_this_stage_and_the_one_before_are_kept(tmp_path):
    history = history_of([3, 1, 2], [4, 3])
    expected = [{1}, {2}, {2}, {2, 4}, {2, 5}]
    for epochs, weights in enumerate(expected, start=1):
        trial = committed(tmp_path, history[:epochs])
        assert kept_weights(tmp_path) == weights
        assert [folder.name for folder in tmp_path.glob("stage-*/checkpoint-*")] == [f"checkpoint-{epochs}"]
    assert number_in(trial.best_weights) == 2


def test_what_a_stage_started_from_is_kept_while_it_trains(tmp_path):
    three = dataclasses.replace(RECIPE, stages=(*RECIPE.stages, Stage("c", PARTS, 2, 1e-5)))
    committed(tmp_path, history_of([1, 2, 3], [9, 8], [7]), three)
    assert kept_weights(tmp_path) == {1, 5, 6}


def test_what_an_unfinished_commit_left_over_is_ignored_and_cleared(tmp_path, monkeypatch):
    history = history_of([3, 2])
    trial = committed(tmp_path, history[:1])
    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(trainable.training.progress, "write_atomically", disk_is_full)
        trial.commit(history[1], FakeModel(9))
    (tmp_path / "weights" / "epoch-0002.safetensors.tmp").write_text("half")
    (tmp_path / "stage-0" / "checkpoint-9").mkdir()
    (tmp_path / "progress.json.tmp").write_text("{")
    again = TrialFolder(tmp_path, RECIPE)
    assert again.history == history[:1]
    assert again.checkpoint_of(0) == tmp_path / "stage-0" / "checkpoint-1"
    assert (kept_weights(tmp_path), checkpoints_in(tmp_path)) == ({1}, {"checkpoint-1"})
    committed(tmp_path, history)
    assert kept_weights(tmp_path) == {2}
    assert [folder.name for folder in tmp_path.glob("stage-*/*")] == ["checkpoint-2"]


class TestCheckpoints:
    """One counts from the moment at which it is durable, and no more than two ever lie on the disk."""

    def test_one_that_becomes_durable_within_the_next_epoch_counts_from_the_next_step(self, tmp_path, slow_disk):
        history = history_of([3, 2])
        trial = committed(tmp_path, history[:1], checkpoints=False)
        trial.commit(history[1], FakeModel(2))
        trial.checkpoint_written(checkpoint_in(tmp_path, history[1]), 0)
        trial.take_in_checkpoint()
        assert trial.is_writing and read_progress(tmp_path).checkpoint is None
        slow_disk.take(trial)
        trial.take_in_checkpoint()
        assert not trial.is_writing and read_progress(tmp_path).checkpoint.path == "stage-0/checkpoint-2"
        assert TrialFolder(tmp_path, RECIPE).checkpoint_of(0) == tmp_path / "stage-0" / "checkpoint-2"

    def test_the_one_before_goes_when_the_next_is_durable_and_not_earlier(self, tmp_path, slow_disk):
        history = history_of([4, 3, 2])
        trial = TrialFolder(tmp_path, RECIPE)
        for row in history:
            trial.commit(row, FakeModel(row.epoch))
            trial.checkpoint_written(checkpoint_in(tmp_path, row), 0)
            before = {f"checkpoint-{row.epoch - 1}"} if row.epoch > 1 else set()
            assert checkpoints_in(tmp_path) == before | {f"checkpoint-{row.epoch}"}
            slow_disk.take(trial)
            trial.take_in_checkpoint()
            assert checkpoints_in(tmp_path) == {f"checkpoint-{row.epoch}"}

    def test_one_that_was_on_its_way_when_the_trial_ended_counts(self, tmp_path, slow_disk):
        (row,) = history_of([3])
        trial = TrialFolder(tmp_path, RECIPE)
        trial.commit(row, FakeModel(1))
        trial.checkpoint_written(checkpoint_in(tmp_path, row), 0)
        threading.Timer(0.05, slow_disk._turns.release).start()
        trial.close()
        assert TrialFolder(tmp_path, RECIPE).checkpoint_of(0) == tmp_path / "stage-0" / "checkpoint-1"

    def test_one_that_the_disk_does_not_take_ends_the_trial_at_the_next_step(self, tmp_path, monkeypatch):
        monkeypatch.setattr(TrialFolder, "_durable", lambda trial, path, stage: disk_is_full(path, ""))
        (row,) = history_of([3])
        trial = TrialFolder(tmp_path, RECIPE)
        trial.commit(row, FakeModel(1))
        trial.checkpoint_written(checkpoint_in(tmp_path, row), 0)
        wait([trial._pending])
        with pytest.raises(OSError, match="No space left"):
            trial.take_in_checkpoint()

    def test_one_that_the_disk_does_not_take_is_said_and_no_harm_where_the_trial_has_ended(
        self, tmp_path, monkeypatch, caplog
    ):
        monkeypatch.setattr(TrialFolder, "_durable", lambda trial, path, stage: disk_is_full(path, ""))
        (row,) = history_of([3])
        trial = TrialFolder(tmp_path, RECIPE)
        trial.commit(row, FakeModel(1))
        trial.checkpoint_written(checkpoint_in(tmp_path, row), 0)
        trial.close()
        assert "the last checkpoint is lost: [Errno 28] No space left on device" in caplog.text
        assert TrialFolder(tmp_path, RECIPE).history == [row]

    def test_one_that_a_killed_process_left_does_not_pile_up(self, tmp_path):
        history = history_of([3, 2])
        committed(tmp_path, history[:1])
        checkpoint_in(tmp_path, history[1])
        TrialFolder(tmp_path, RECIPE)
        assert checkpoints_in(tmp_path) == {"checkpoint-1"}


def bit_flipped(path):
    """Another digit somewhere, and still JSON."""
    text = path.read_text()
    assert '"val_loss": 2' in text
    path.write_text(text.replace('"val_loss": 2', '"val_loss": 6', 1))


DAMAGES = {
    "emptied": lambda path: path.write_bytes(b""),
    "torn": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "not text": lambda path: path.write_bytes(b"\xff\x00" * 100),
    "another file": lambda path: path.write_text("[1, 2]"),
    "an object of something else": lambda path: path.write_text('{"epochs": 3}'),
    "a flipped bit": bit_flipped,
}


class TestDamagedProgress:
    """It is said, and the trial starts from what is sound: what the search knows, and its recipe."""

    @pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
    def test_the_trial_is_trained_again_and_what_was_reported_stands(self, tmp_path, caplog, damage):
        history = history_of([3, 2], [4])
        committed(tmp_path, history)
        damage(tmp_path / "progress.json")
        trial = TrialFolder(tmp_path, RECIPE, reported=history)
        assert f"{tmp_path / 'progress.json'} is damaged: " in caplog.text and "is trained again" in caplog.text
        assert (trial.history, trial.next_stage(), trial.checkpoint_of(0)) == (history, 0, None)
        for epoch in (1, 2):
            trial.commit(trial.row_of_epoch(epoch), FakeModel(epoch))
        again = TrialFolder(tmp_path, RECIPE)
        assert (again.history, number_in(again.best_weights)) == (history, 2)

    def test_without_a_search_that_knows_it_starts_anew(self, tmp_path, caplog):
        committed(tmp_path, history_of([3, 2]))
        (tmp_path / "progress.json").write_text("{")
        trial = TrialFolder(tmp_path, RECIPE)
        assert (trial.history, trial.next_stage()) == ([], 0)
        assert not checkpoints_in(tmp_path), "nothing says any more whether they are whole"

    def test_a_folder_that_is_gone_is_made_up_for_too(self, tmp_path):
        history = history_of([3, 2])
        trial = TrialFolder(tmp_path / "new", RECIPE, reported=history)
        assert (trial.history, trial.next_stage()) == (history, 0)

    def test_a_folder_that_knows_more_than_the_search_is_believed(self, tmp_path):
        history = history_of([3, 2])
        committed(tmp_path, history)
        trial = TrialFolder(tmp_path, RECIPE, reported=history[:1])
        assert trial.history == history and trial.checkpoint_of(0)

    @pytest.mark.parametrize(
        ("change", "fault"),
        [
            ({"history": [3]}, r"history\[0\]: should be a mapping of fields, got 3"),
            ({"history": plain(*history_of([3, 2]))[1:]}, "history: rows of epochs 1, 2, "),
            ({"history": plain(*history_of([3], [2])[::-1])}, "history: rows of epochs 1, 2, "),
            ({"history": [plain(*history_of([3]))[0] | {"val_loss": None}]}, "val_loss: should be a valid number"),
            ({"history": [plain(*history_of([3]))[0] | {"val_loss": math.nan}]}, "val_loss: should be a finite number"),
            ({"weights": ["epoch-0001.safetensors"]}, "weights: should be a mapping of fields, got "),
            ({"weights": {"../../../precious": 1}}, "weights.*: the name of a file, got "),
            ({"checkpoint": {"path": "../0008/stage-0", "stage": 0, "checksums": {}}}, "path in the trial's folder"),
            ({"checkpoint": "checkpoint-1"}, "checkpoint: should be a mapping of fields, got 'checkpoint-1'"),
            ({"recipe": {"stages": []}}, "recipe.stages: a list of at least one"),
        ],
        ids=str,
    )
    def test_what_is_no_progress_is_named(self, tmp_path, change, fault):
        committed(tmp_path, history_of([3, 2]))
        path = tmp_path / "progress.json"
        content = json.loads(path.read_text()) | change
        del content["checksum"]  # as in files of earlier versions
        path.write_text(json.dumps(content))
        with pytest.raises(ProgressError, match=f"progress.json is damaged: .*{fault}"):
            read_progress(tmp_path)

    def test_a_file_of_an_earlier_version_is_gone_on_with(self, tmp_path):
        history = history_of([3, 2])
        trial = committed(tmp_path, history)
        content = json.loads((tmp_path / "progress.json").read_text())
        before = {name: content[name] for name in ("history", "checkpoint", "weights")}
        (tmp_path / "progress.json").write_text(json.dumps(before))
        again = TrialFolder(tmp_path, RECIPE)
        assert (again.history, again.checkpoint_of(0)) == (history, trial.checkpoint_of(0))
        assert number_in(again.best_weights) == 2

    @pytest.mark.parametrize(
        "damage",
        [DAMAGES["emptied"], DAMAGES["not text"], lambda path: path.write_text(PATIENT.to_yaml()), Path.unlink],
        ids=["emptied", "not text", "another recipe", "gone"],
    )
    def test_a_damaged_recipe_is_said_and_written_anew(self, tmp_path, caplog, damage):
        history = history_of([3, 2])
        committed(tmp_path, history)
        damage(tmp_path / "recipe.yaml")
        trial = TrialFolder(tmp_path, RECIPE)
        assert f"{tmp_path / 'recipe.yaml'} is damaged and written anew" in caplog.text
        assert trial.history == history and trial.checkpoint_of(0)
        assert Recipe.from_yaml(tmp_path / "recipe.yaml") == RECIPE

    def test_a_damaged_recipe_beside_progress_of_an_earlier_version_starts_the_trial_anew(self, tmp_path, caplog):
        committed(tmp_path, history_of([3, 2]))
        content = json.loads((tmp_path / "progress.json").read_text())
        (tmp_path / "progress.json").write_text(
            json.dumps({name: content[name] for name in ("history", "checkpoint", "weights")})
        )
        (tmp_path / "recipe.yaml").write_text("stages: {")
        assert TrialFolder(tmp_path, RECIPE).history == []
        assert f"{tmp_path / 'recipe.yaml'} is damaged: " in caplog.text and "is trained again" in caplog.text

    def test_nothing_is_said_where_nothing_is_damaged(self, tmp_path, caplog):
        caplog.set_level(logging.WARNING)
        committed(tmp_path, history_of([3, 1, 2], [4, 5]))
        assert not caplog.records


def test_a_damaged_checkpoint_is_noticed_and_its_stage_begins_again(tmp_path, caplog):
    committed(tmp_path, history_of([3, 2]))
    file = tmp_path / "stage-0" / "checkpoint-2" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    trial = TrialFolder(tmp_path, RECIPE)
    assert (trial.next_stage(), trial.checkpoint_of(0), len(trial.history)) == (0, None, 2)
    assert "checkpoint-2 is damaged; its stage is trained again" in caplog.text


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["gone", "emptied"])
def test_damaged_weights_send_a_trial_back_to_the_stage_that_they_come_from(tmp_path, caplog, damage):
    committed(tmp_path, history_of([3, 1, 2], [4]), checkpoints=False)
    damage(tmp_path / "weights" / "epoch-0002.safetensors")
    trial = TrialFolder(tmp_path, RECIPE)
    assert (trial.next_stage(), len(trial.history)) == (0, 4)
    assert "epoch-0002.safetensors is damaged or gone; its stage is trained again" in caplog.text
    trial.commit(trial.row_of_epoch(2), FakeModel(2))
    assert trial.next_stage() == 1
    assert kept_weights(tmp_path) == {2, 4}


@pytest.mark.parametrize("best", [0, 1])
def test_damaged_best_weights_of_a_finished_trial_are_trained_again(tmp_path, best):
    history = history_of([3, 1, 2], [4, 5]) if best == 0 else history_of([3, 2, 2], [1, 5])
    trial = committed(tmp_path, history)
    assert trial.next_stage() is None
    trial.best_weights.write_bytes(b"damaged")
    again = TrialFolder(tmp_path, RECIPE)
    assert again.next_stage() == best
    for row in [row for row in again.history if row.stage == best]:
        again.commit(row, FakeModel(row.epoch))
    assert again.next_stage() is None and number_in(again.best_weights) == (2 if best == 0 else 4)


def test_a_trial_that_goes_back_by_two_stages_gets_through_both_again(tmp_path):
    three = dataclasses.replace(RECIPE, stages=(*RECIPE.stages, Stage("c", PARTS, 2, 1e-5)))
    committed(tmp_path, history_of([3, 1, 2], [9, 8], [7]), three, checkpoints=False)
    for file in (tmp_path / "weights").iterdir():
        file.unlink()
    trial = TrialFolder(tmp_path, three)
    for stage, epochs in enumerate([(1, 2, 3), (4, 5)]):
        assert trial.next_stage() == stage
        for epoch in epochs:
            trial.commit(trial.row_of_epoch(epoch), FakeModel(epoch))
    assert trial.next_stage() == 2 and number_in(trial.start_weights(2)) == 5


def test_another_recipes_progress_is_not_gone_on_with(tmp_path):
    committed(tmp_path, history_of([3]))
    other = dataclasses.replace(RECIPE, seed=1)
    with pytest.raises(RecipeError, match=rf"{tmp_path}(.|\n)*holds another recipe's progress; choose another folder"):
        TrialFolder(tmp_path, other)
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == RECIPE


def test_a_recipe_without_progress_may_be_replaced(tmp_path):
    TrialFolder(tmp_path, RECIPE)
    TrialFolder(tmp_path, PATIENT)
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == PATIENT


def test_dropping_the_checkpoint_leaves_the_result(tmp_path):
    trial = committed(tmp_path, history_of([3, 2, 1], [2, 2]))
    drop_checkpoints(trial.path)
    assert not list(tmp_path.glob("stage-*"))
    again = TrialFolder(tmp_path, RECIPE)
    assert again.next_stage() is None
    assert number_in(again.best_weights) == 3


def test_dropping_the_weights_leaves_the_history(tmp_path):
    trial = committed(tmp_path, history_of([3, 2, 1], [2, 2]))
    drop_weights(trial.path)
    assert not (tmp_path / "weights").exists()
    assert TrialFolder(tmp_path, RECIPE).history == trial.history


def test_of_an_ended_trial_the_weights_of_one_epoch_may_stay(tmp_path):
    trial = committed(tmp_path, history_of([3, 2, 1], [2, 2]))
    assert len(list((tmp_path / "weights").iterdir())) == 2, "the best of all, and that of the last stage"
    drop_weights(trial.path, but=3)
    assert [path.name for path in (tmp_path / "weights").iterdir()] == ["epoch-0003.safetensors"]
    assert number_in(trial.best_weights) == 3


def test_numbers_come_back_bit_for_bit(tmp_path):
    row = dataclasses.replace(history_of([0.1 + 0.2])[0], learning_rate=1e-5 / 3)
    committed(tmp_path, [row])
    assert TrialFolder(tmp_path, RECIPE).history == [row]


class TestInARemoteStorage:
    @pytest.fixture
    def machines(self, tmp_path):
        """The mirrors of one run on two machines."""
        remote = Remote((tmp_path / "storage").as_uri())
        return [Mirror(remote, tmp_path / name) for name in ("first", "second")]

    def trial(self, machine, history=(), **more):
        return committed(machine.local / "0007", history, mirror=machine, **more)

    def stored(self, tmp_path):
        folder = tmp_path / "storage" / "0007"
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    def test_a_trial_goes_on_on_another_machine(self, machines):
        history = history_of([3, 1, 2], [4, 5])
        self.trial(machines[0], history[:4])
        moved = self.trial(machines[1])
        assert (moved.history, moved.next_stage()) == (history[:4], 1)
        assert moved.checkpoint_of(1) == moved.path / "stage-1" / "checkpoint-4"
        assert number_in(moved.start_weights(1)) == 2
        assert self.trial(machines[1], history).next_stage() is None

    def test_the_storage_keeps_what_a_folder_keeps(self, machines, tmp_path):
        trial = self.trial(machines[0], history_of([3, 1, 2], [4, 3]))
        here = {path.relative_to(trial.path).as_posix() for path in trial.path.rglob("*") if path.is_file()}
        assert self.stored(tmp_path) == here
        assert here >= {"progress.json", "weights/epoch-0002.safetensors", "stage-1/checkpoint-5/model.safetensors"}

    def test_the_storage_holds_against_what_a_machine_had_before(self, machines):
        history = history_of([3, 1, 2])
        self.trial(machines[0], history[:1])
        self.trial(machines[1], history[:2])
        assert self.trial(machines[0]).history == history[:2]
        shutil.rmtree(machines[0].local.parent / "storage")
        assert self.trial(machines[0]).history == []

    def test_an_epoch_that_the_storage_does_not_take_has_not_happened(self, tmp_path, s3, request):
        remote = Remote(s3.uri(f"bucket/{request.node.name}"), retry_seconds=0)
        history = history_of([3, 2])
        trial = self.trial(Mirror(remote, tmp_path / "first"), history[:1], checkpoints=False)
        s3.failure = BUSY
        with pytest.raises(StorageError, match="cannot be reached"):
            trial.commit(history[1], FakeModel(2))
        s3.failure = None
        resumed = self.trial(Mirror(remote, tmp_path / "second"))
        assert resumed.history == history[:1] and number_in(resumed.best_weights) == 1

    def test_progress_is_stored_after_what_it_names_and_before_what_it_no_longer_names_goes(
        self, machines, monkeypatch, tmp_path
    ):
        push, states = Mirror.push, []

        def watched(mirror, path):
            before = self.stored(tmp_path)
            push(mirror, path)
            if path.name == "progress.json":
                states.append({name for name in before if "/" in name})

        monkeypatch.setattr(Mirror, "push", watched)
        self.trial(machines[0], history_of([3, 2]), checkpoints=False)
        assert states == [
            {"weights/epoch-0001.safetensors"},
            {"weights/epoch-0001.safetensors", "weights/epoch-0002.safetensors"},
        ]
        assert "weights/epoch-0001.safetensors" not in self.stored(tmp_path)

    def test_what_is_dropped_goes_from_the_storage_too(self, machines, tmp_path):
        trial = self.trial(machines[0], history_of([3, 2, 1], [2, 2]))
        shutil.rmtree(trial.path)  # as on the driver's machine, which has trained nothing
        drop_checkpoints(trial.path, machines[0])
        assert self.stored(tmp_path) == {
            *("recipe.yaml", "progress.json"),
            *("weights/epoch-0003.safetensors", "weights/epoch-0004.safetensors"),
        }
        drop_weights(trial.path, machines[0], but=3)
        assert self.stored(tmp_path) == {"recipe.yaml", "progress.json", "weights/epoch-0003.safetensors"}
        drop_weights(trial.path, machines[0])
        assert self.stored(tmp_path) == {"recipe.yaml", "progress.json"}


def test_what_each_validation_pair_adds_is_kept_of_the_best_epoch(tmp_path):
    terms = {epoch: np.full((3, 4), float(epoch)) for epoch in (1, 2, 3)}
    with contextlib.closing(TrialFolder(tmp_path, RECIPE)) as trial:
        for epoch, loss in ((1, 3.0), (2, 1.0), (3, 2.0)):
            trial.commit(trained_row(epoch, loss), FakeModel(epoch), terms[epoch])
    assert read_terms(tmp_path, 2).tolist() == terms[2].tolist()
    assert read_terms(tmp_path, 3) is None
