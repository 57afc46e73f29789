import dataclasses
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from trainable.data.source import read_source
from trainable.data.trial_data import TrialData
from trainable.detector.loading import load_model, load_processor
from trainable.history import best_row
from trainable.recipe import Recipe, Stage
from trainable.train import app
from trainable.training.evaluation import evaluate
from trainable.training.stage_trainer import StageTrainer
from trainable.training.trial_folder import TrialFolder
from trainable.training.trial_process import only_process

RECIPE = Recipe((Stage("heads", ("box_head", "class_head"), epochs=2, learning_rate=1e-3),), accumulation_steps=2)
SCRIPT = Path(__file__).parents[2] / "trainable" / "train.py"


@pytest.fixture
def run(monkeypatch, tmp_path, data_folder, checkpoint):
    """Runs the command with a recipe in `tmp_path/recipe.yaml`; more arguments override the usual ones."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "recipe.yaml").write_text("# how to train it again\n" + RECIPE.to_yaml())

    def invoke(**changes):
        options = {
            "recipe": tmp_path / "recipe.yaml",
            "data": data_folder,
            "model": checkpoint,
            "out": tmp_path / "out",
        }
        options |= changes
        return CliRunner().invoke(app, [text for name, value in options.items() for text in (f"--{name}", str(value))])

    return invoke


def test_the_trained_model_is_there_with_its_processor_and_gives_the_printed_loss(run, tmp_path, pair_data):
    result = run()
    assert result.exit_code == 0, result.output
    assert "1/1 heads" in result.output
    best = best_row(TrialFolder(tmp_path / "out", RECIPE).history)
    assert f"best val_loss {best.val_loss:.4f}" in result.output
    model_folder = tmp_path / "out" / "model"
    data = TrialData.of(pair_data, load_processor(model_folder))
    losses = evaluate(load_model(model_folder, pair_data.names), data.val, data.collator).losses
    assert losses["val_loss"] == pytest.approx(best.val_loss, rel=1e-6)


def test_a_size_that_is_asked_for_is_trained_at_and_is_that_of_the_saved_processor(run, tmp_path, pair_data):
    result = run(**{"image-size": 64})
    assert result.exit_code == 0, result.output
    assert "image_size: 64\n" in (tmp_path / "out" / "recipe.yaml").read_text()
    best = best_row(TrialFolder(tmp_path / "out", dataclasses.replace(RECIPE, image_size=64)).history)
    data = TrialData.of(pair_data, load_processor(tmp_path / "out" / "model"))
    assert min(data.val[0]["pixel_values"].shape[1:]) == 64
    losses = evaluate(load_model(tmp_path / "out" / "model", pair_data.names), data.val, data.collator).losses
    assert losses["val_loss"] == pytest.approx(best.val_loss, rel=1e-6), "all but the heads was frozen"


def test_an_image_that_the_model_cannot_be_given_is_refused_and_what_would_surprise_is_said(
    run, data_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("trainable.train._train", lambda *arguments: None)
    data = Path(shutil.copytree(data_folder, tmp_path / "data"))
    shutil.copy(data / "after" / "t0.png", data / "before" / "t0.png")
    result = run(data=data)
    assert result.exit_code == 0
    assert "1 of 10 labelled pairs are (almost) black" in result.output
    for side in ("before", "after"):
        Image.new("RGB", (4000, 4)).save(data / side / "t0.png")
    result = run(data=data)
    assert result.exit_code == 2
    assert "image too thin for the model (met: 4000x4 pixels become 64x0 at the model's size)" in result.output


def test_the_same_command_goes_on_and_then_finishes_at_once(run, tmp_path, monkeypatch):
    calls = 0
    evaluate_data_set = StageTrainer.evaluate_data_set

    def interrupted(trainer):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt
        return evaluate_data_set(trainer)

    monkeypatch.setattr(StageTrainer, "evaluate_data_set", interrupted)
    first = run()
    assert first.exit_code == 130
    assert f"the same command goes on from the last epoch in {tmp_path / 'out'}" in first.output
    second = run()
    assert (second.exit_code, calls) == (0, 3), second.output
    third = run()
    assert (third.exit_code, calls) == (0, 3), third.output
    assert third.output == second.output


def test_how_many_images_go_at_a_time_is_as_asked_kept_and_gone_on_with(run, tmp_path):
    def kept(name, **changes):
        result = run(out=tmp_path / name, **changes)
        assert result.exit_code == 0, result.output
        return Recipe.from_yaml(tmp_path / name / "recipe.yaml").micro_batch

    assert kept("recipe") is None
    assert kept("auto", **{"micro-batch": "auto"}) == 4, "the step has no more"
    assert kept("three", **{"micro-batch": "3"}) == 3
    assert kept("three", **{"micro-batch": "auto"}) == 3, "a trial that has begun keeps its own"
    (tmp_path / "recipe.yaml").write_text(dataclasses.replace(RECIPE, micro_batch=2).to_yaml())
    assert kept("written") == 2
    refused = run(**{"micro-batch": "none"})
    assert refused.exit_code == 2
    assert "--micro-batch: auto, recipe or a whole number, at least 1, got 'none'" in refused.output


@pytest.mark.parametrize("data", [b"", b"[]", b'{"data": 1}', b"\xff"])
def test_a_folder_that_no_longer_says_what_it_was_trained_with_is_refused_in_a_line(run, tmp_path, data):
    assert run().exit_code == 0
    (tmp_path / "out" / "inputs.json").write_bytes(data)
    result = run()
    assert result.exit_code == 2
    assert "inputs.json is damaged; delete it if it was of this --data and --model" in result.output


def test_a_second_command_on_one_folder_waits_for_the_first(run, tmp_path, monkeypatch):
    monkeypatch.setattr("trainable.training.trial_process.FIRST_WORD_SECONDS", 0.0)
    first, seen = ExitStack(), []
    first.enter_context(only_process(tmp_path / "out", pytest.fail))
    sleep = time.sleep

    def waited(seconds):
        seen.append((tmp_path / "out" / "recipe.yaml").exists())
        first.close()
        sleep(seconds)

    monkeypatch.setattr("trainable.training.trial_process.time.sleep", waited)
    result = run()
    assert result.exit_code == 0, result.output
    assert seen[0] is False and "still writes there; waiting for it to end" in result.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "nowhere"}, "nowhere"),
        ({"model": "nowhere/at-all"}, "model nowhere/at-all: neither a folder"),
        ({"recipe": "nowhere.yaml"}, "nowhere.yaml: 1 fault(s)"),
        ({"subset": 0}, "--subset"),
        ({"cpus": 0}, "--cpus"),
        ({"image-size": 31}, "--image-size"),
    ],
    ids=str,
)
def test_wrong_input_is_named_and_nothing_is_started(run, tmp_path, changes, message):
    result = run(**changes)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "out").exists()


def test_an_image_that_goes_away_is_named_in_a_line(run, tmp_path, data_folder, monkeypatch):
    data = Path(shutil.copytree(data_folder, tmp_path / "data"))

    def read_then_lose(*arguments, **more):
        pairs = read_source(*arguments, **more)
        pairs.train[0].before.unlink()
        return pairs

    monkeypatch.setattr("trainable.train.read_source", read_then_lose)
    result = run(data=data)
    assert result.exit_code == 3
    assert str(data / "before") in result.stderr and result.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_named_in_a_line(run, tmp_path):
    (tmp_path / "file").write_text("")
    result = run(out=tmp_path / "file" / "out")
    assert result.exit_code == 4
    assert f"once that is mended, the same command goes on with what is in {tmp_path}/file/out" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_folder_with_another_recipes_progress_is_refused(run, tmp_path):
    assert run().exit_code == 0
    (tmp_path / "recipe.yaml").write_text(dataclasses.replace(RECIPE, seed=1).to_yaml())
    result = run()
    assert result.exit_code == 2
    assert "holds another recipe's progress; choose another folder" in result.output


def test_as_a_script_a_bad_recipe_exits_2_and_names_file_and_rules(tmp_path):
    recipe = tmp_path / "bad.yaml"
    recipe.write_text(RECIPE.to_yaml().replace("epochs: 2", "epochs: 0").replace("batch_size: 2", "batch_size: two"))
    done = subprocess.run(
        [sys.executable, SCRIPT, "--recipe", recipe], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert f"{recipe}: 2 fault(s)" in done.stderr
    assert "stages[0].epochs: should be greater than or equal to 1, got 0" in done.stderr
    assert "batch_size: should be a valid integer, got 'two'" in done.stderr


def test_progress_on_other_data_is_refused_with_the_flag_and_the_folder(run, tmp_path, data_folder):
    assert run().exit_code == 0
    refused = run(subset=2)
    assert refused.exit_code == 2
    assert f"{tmp_path / 'out'}" in refused.output
    assert "its progress is that of another --data; choose another --out" in refused.output
