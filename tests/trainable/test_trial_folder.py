import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import trainable.trial_folder
from tests.s3 import BUSY
from trainable.mirror import Mirror
from trainable.recipe import PARTS, Recipe, RecipeError, Stage
from trainable.remote import Remote, StorageError
from trainable.trial_folder import TrialFolder, drop_checkpoints, drop_weights

RECIPE = Recipe((Stage("a", ("class_head",), epochs=3, learning_rate=1e-3), Stage("b", PARTS, 2, 1e-4)))
PATIENT = dataclasses.replace(RECIPE, patience=2)


def history_of(*stages):
    """Rows of stages that are given as lists of `val_loss`."""
    rows = [{"stage": stage, "val_loss": loss} for stage, losses in enumerate(stages) for loss in losses]
    return [row | {"epoch": epoch} for epoch, row in enumerate(rows, start=1)]


class FakeModel(torch.nn.Module):
    """Has one number in its class head."""

    def __init__(self, number):
        super().__init__()
        self.class_labels_classifier = torch.nn.Linear(1, 1)
        torch.nn.init.constant_(self.class_labels_classifier.weight, number)


def checkpoint_in(path, row):
    """A Trainer checkpoint of this row's moment."""
    checkpoint = path / f"stage-{row['stage']}" / f"checkpoint-{row['epoch']}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_text(f"epoch {row['epoch']}")
    return checkpoint


def committed(path, history, recipe=RECIPE, checkpoints=True, mirror=None):
    """The folder of a trial with this history, a checkpoint after every epoch; an epoch's weights are its number."""
    trial = TrialFolder(path, recipe, mirror)
    for row in history[len(trial.history) :]:
        trial.commit(row, FakeModel(row["epoch"]))
        if checkpoints:
            trial.checkpoint_written(checkpoint_in(path, row), row["stage"])
            trial.close()
            trial.commit(row, FakeModel(row["epoch"]))
            trial = TrialFolder(path, recipe, mirror)
    trial.close()
    return trial


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
    trial.commit(history[1] | {"val_loss": 7}, FakeModel(9))
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
        patch.setattr(trainable.trial_folder, "write_atomically", disk_is_full)
        trial.commit(history[1], FakeModel(9))
    (tmp_path / "weights" / "epoch-0002.safetensors.tmp").write_text("half")
    (tmp_path / "stage-0" / "checkpoint-9").mkdir()
    (tmp_path / "progress.json.tmp").write_text("{")
    again = TrialFolder(tmp_path, RECIPE)
    assert again.history == history[:1]
    assert again.checkpoint_of(0) == tmp_path / "stage-0" / "checkpoint-1"
    committed(tmp_path, history)
    assert kept_weights(tmp_path) == {2}
    assert [folder.name for folder in tmp_path.glob("stage-*/*")] == ["checkpoint-2"]


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
    trial.commit(trial.known(2), FakeModel(2))
    assert trial.next_stage() == 1
    assert kept_weights(tmp_path) == {2, 4}


def test_a_trial_that_goes_back_by_two_stages_gets_through_both_again(tmp_path):
    three = dataclasses.replace(RECIPE, stages=(*RECIPE.stages, Stage("c", PARTS, 2, 1e-5)))
    committed(tmp_path, history_of([3, 1, 2], [9, 8], [7]), three, checkpoints=False)
    for file in (tmp_path / "weights").iterdir():
        file.unlink()
    trial = TrialFolder(tmp_path, three)
    for stage, epochs in enumerate([(1, 2, 3), (4, 5)]):
        assert trial.next_stage() == stage
        for epoch in epochs:
            trial.commit(trial.known(epoch), FakeModel(epoch))
    assert trial.next_stage() == 2 and number_in(trial.start_weights(2)) == 5


def test_a_stage_of_another_trial_is_taken_over_as_a_whole(tmp_path):
    rows = history_of([3, 1, 2])
    other = committed(tmp_path / "other", rows)
    trial = TrialFolder(tmp_path / "trial", RECIPE)
    assert trial.adopt([row | {"shared_from": "other"} for row in rows], other.best_weights)
    shutil.rmtree(tmp_path / "other")
    again = TrialFolder(tmp_path / "trial", RECIPE)
    assert [row["shared_from"] for row in again.history] == ["other"] * 3
    assert again.next_stage() == 1
    assert number_in(again.start_weights(1)) == 2


def test_a_stage_whose_weights_are_gone_is_not_taken_over(tmp_path):
    trial = TrialFolder(tmp_path, RECIPE)
    assert not trial.adopt(history_of([3, 1, 2]), tmp_path / "gone")
    assert TrialFolder(tmp_path, RECIPE).history == trial.history == []


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


def test_numbers_come_back_bit_for_bit(tmp_path):
    row = history_of([0.1 + 0.2])[0] | {"learning_rate": 1e-5 / 3}
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

    def test_a_stage_that_was_taken_over_is_stored(self, machines, tmp_path):
        rows = history_of([3, 1, 2])
        other = committed(tmp_path / "other", rows)
        assert TrialFolder(machines[0].local / "0007", RECIPE, machines[0]).adopt(rows, other.best_weights)
        assert number_in(self.trial(machines[1]).start_weights(1)) == 2

    def test_what_is_dropped_goes_from_the_storage_too(self, machines, tmp_path):
        trial = self.trial(machines[0], history_of([3, 2, 1], [2, 2]))
        shutil.rmtree(trial.path)  # as on the driver's machine, which has trained nothing
        drop_checkpoints(trial.path, machines[0])
        assert self.stored(tmp_path) == {
            *("recipe.yaml", "progress.json"),
            *("weights/epoch-0003.safetensors", "weights/epoch-0004.safetensors"),
        }
        drop_weights(trial.path, machines[0])
        assert self.stored(tmp_path) == {"recipe.yaml", "progress.json"}
