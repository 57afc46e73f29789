"""The model of a trial that is not the best one: whole, measured and ready to use, or one line that says why not."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoImageProcessor, DetrForObjectDetection
from typer.testing import CliRunner, Result

import results.predict
from results.export_model import app
from results.journal.journal import read_journal
from results.journal.objects import JournalObjects
from results.measures.metrics import evaluate_checkpoint
from tests.results.conftest import NOON, asked, ended, reported
from trainable.compute import usable_device
from trainable.data.dataset import padded_size
from trainable.detector.loading import load_processor
from trainable.recipe import PARTS, Recipe, reference
from trainable.storage.remote import Remote
from trainable.training.trial_folder import weights_path
from trainable.training.weights import save_weights, trial_model

NAMES = ("person", "car")


@pytest.fixture(scope="module")
def checkpoint(finding_checkpoint: Path) -> Path:
    """Its classes are those of the data set, and it finds something."""
    return finding_checkpoint


@pytest.fixture(scope="module")
def written(tmp_path_factory, checkpoint, pair_data, data_folder) -> Path:
    """A run of four trials: two have their weights, one has lost them, one has failed before its first epoch."""
    run = tmp_path_factory.mktemp("runs") / "my [red]run"
    recipe = reference(3)
    padded = padded_size((*pair_data.train, *pair_data.val), load_processor(checkpoint))
    val_loss = evaluate_checkpoint(checkpoint, pair_data.val, NAMES, padded, cpus=1, device=usable_device()).losses[
        "val_loss"
    ]
    events = []
    for number in range(4):
        events.append(asked(number, recipe.to_dict(), NOON + 10 * number))
        if number < 3:
            events.append(reported(number, 1, val_loss + 1, NOON + 10 * number + 1))
            events.append(reported(number, 2, val_loss, NOON + 10 * number + 2))
            trial = run / "trials" / f"{number:04d}"
            save_weights(trial_model(checkpoint, NAMES, 0), frozenset(PARTS), weights_path(trial, 2))
            (trial / "recipe.yaml").write_text(recipe.to_yaml())
    shutil.rmtree(run / "trials" / "0002" / "weights")
    events += [
        ended(1, "PRUNED", NOON + 50),
        ended(3, "FAILED", NOON + 51, "ValueError: it is [bold]broken\nand so on"),
    ]
    (run / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    identity = {"data": pair_data.fingerprint[:16]}
    options = {"space": "staged", "model": str(checkpoint), "data": str(data_folder), "min_recall": 0.9}
    (run / "search.yaml").write_text(yaml.safe_dump({**options, "identity": identity}))
    return run


@pytest.fixture
def run(written: Path, tmp_path: Path) -> Path:
    """`written`, to be changed."""
    return Path(shutil.copytree(written, tmp_path / written.name))


def export(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def assert_refused(result: Result, *messages: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1
    for message in messages:
        assert message in result.stderr


def change_options(run: Path, **changed: Any) -> None:
    options = yaml.safe_load((run / "search.yaml").read_text())
    (run / "search.yaml").write_text(yaml.safe_dump(options | changed))


def test_a_pair_that_went_bad_since_is_left_out_where_the_search_left_bad_ones_out(run, data_folder, tmp_path):
    data = shutil.copytree(data_folder, tmp_path / "data")
    (data / "after" / "v1.png").unlink()
    change_options(run, data=str(data), skip_bad=True)
    result = export(run, "--trial", 1, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "faulty file(s) are left out of it now" in result.output
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["pairs"] == 3


def test_a_trial_that_is_not_the_best_gets_a_folder_that_transformers_and_predict_load(run, data_folder, tmp_path):
    out = tmp_path / "new" / "[bold]my_model"
    result = export(run, "--trial", 1, "--out", out)
    assert result.exit_code == 0, result.output
    assert "trial 1, pruned, as of epoch 2" in result.output and f"model    {out}\n" in result.output
    metrics = json.loads((out / "metrics.json").read_text())
    assert f"val_loss {metrics['val_loss']:.4f}" in result.output
    assert metrics["recommended"]["constraint"].startswith("recall >= 0.9")
    model = DetrForObjectDetection.from_pretrained(out)
    assert model.config.score_threshold == metrics["recommended"]["score_threshold"]
    assert AutoImageProcessor.from_pretrained(out, backend="pil").size["shortest_edge"] == 48
    assert "trial 1 of the search `my [red]run`; weights of epoch 2" in (out / "README.md").read_text()
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    pair = [data_folder / side / "v0.png" for side in ("before", "after")]
    words = ["--model", out, *pair, "--out", tmp_path / "found"]
    predicted = CliRunner().invoke(results.predict.app, [str(word) for word in words])
    assert predicted.exit_code == 0 and "as the model's config recommends" in predicted.output, predicted.output


def test_the_recipe_beside_it_says_how_to_train_it_again(run, data_folder, tmp_path):
    out = tmp_path / "my_model"
    assert export(run, "--trial", 1, "--out", out).exit_code == 0
    assert Recipe.from_yaml(out / "recipe.yaml") == reference(3)
    text = (out / "recipe.yaml").read_text()
    assert "# A recipe of my [red]run: trial 1, val_loss" in text
    assert f"python trainable/train.py --recipe {out}/recipe.yaml --data {data_folder} --model" in text


def test_a_model_that_was_trained_at_another_size_is_measured_and_saved_at_it(run, pair_data, tmp_path):
    journal, recipe = run / "journal.jsonl", dataclasses.replace(reference(3), image_size=64)
    checkpoint = yaml.safe_load((run / "search.yaml").read_text())["model"]
    processor = load_processor(checkpoint, 64)
    padded = padded_size((*pair_data.train, *pair_data.val), processor)
    model = tmp_path / "at its size"
    trial_model(checkpoint, NAMES, 0).save_pretrained(model)
    processor.save_pretrained(model)
    loss = evaluate_checkpoint(model, pair_data.val, NAMES, padded, cpus=1, device=usable_device()).losses["val_loss"]
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    for event in events:
        if event["event"] == "asked":
            event["recipe"] = recipe.to_dict()
        if event["event"] == "reported" and event["metrics"]["epoch"] == 2:
            event["metrics"]["val_loss"] = loss
    journal.write_text("".join(json.dumps(event) + "\n" for event in events))
    (run / "trials" / "0001" / "recipe.yaml").write_text(recipe.to_yaml())
    change_options(run, image_size=64)
    result = export(run, "--trial", 1, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert dict(load_processor(tmp_path / "out").size)["shortest_edge"] == 64


def test_a_run_in_a_bucket_is_read_from_there(run, s3, tmp_path, request):
    uri = s3.uri(f"bucket/{request.node.name}/one")
    remote = Remote(uri)
    for path in run.rglob("*"):
        if path.is_file() and path.name != "journal.jsonl":
            remote.upload(path, path.relative_to(run).as_posix())
    journal = JournalObjects(remote.at("journal"))
    for event in read_journal(run / "journal.jsonl"):
        journal.append(event)
    journal.close()
    out = tmp_path / "my_model"
    result = export(uri, "--trial", 1, "--out", out)
    assert result.exit_code == 0, result.output
    assert DetrForObjectDetection.from_pretrained(out).config.num_labels == 2
    assert_refused(export(uri, "--trial", 2, "--out", tmp_path / "other"), "only those of 0, 1: ", "--keep")
    nowhere = s3.uri(f"bucket/{request.node.name}/two")
    assert_refused(export(nowhere, "--trial", 1, "--out", tmp_path / "other"), "so this is no run folder")


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        (4, "has no such trial, but trials 0 to 3"),
        (3, "no epoch of it was evaluated, it is FAILED: ValueError: it is [bold]broken\n"),
        (2, "its weights are not kept, only those of 0, 1: a search drops those of all but its --keep best trials"),
    ],
)
def test_a_trial_without_weights_is_refused_and_those_that_have_them_are_named(run, tmp_path, trial, message):
    assert_refused(export(run, "--trial", trial, "--out", tmp_path / "out"), f"--trial {trial}: ", message)
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_and_what_is_there_already_are_refused(run, tmp_path):
    out = tmp_path / "out"
    assert_refused(export(tmp_path / "nowhere", "--trial", 1, "--out", out), "nowhere: there is no such folder")
    assert_refused(export(tmp_path, "--trial", 1, "--out", out), "search.yaml cannot be read, so this is no run folder")
    assert_refused(export(run, "--trial", 1, "--out", run), f"--out {run}: is there already; choose another folder")
    (run / "search.yaml").write_text("model: [a]")
    assert_refused(
        export(run, "--trial", 1, "--out", out),
        "holds no options of a search: model: the name of a model, or",
        "got ['a']",
    )


def test_data_that_have_moved_are_named_by_a_flag_and_others_are_refused(run, data_folder, tmp_path):
    moved, out = Path(shutil.copytree(data_folder, tmp_path / "moved")), tmp_path / "out"
    change_options(run, data=str(tmp_path / "gone"))
    gone = export(run, "--trial", 1, "--out", out)
    assert gone.exit_code == 2 and "gone: no such file or folder" in gone.stderr
    assert export(run, "--trial", 1, "--out", out, "--data", moved).exit_code == 0
    assert f"--data {moved}" in (out / "recipe.yaml").read_text()
    (moved / "labels" / "v0.txt").write_text("")
    other = export(run, "--trial", 1, "--out", tmp_path / "other", "--data", moved)
    assert_refused(other, f"--data {moved}: is not the data set of the search: its fingerprint is ")


def test_a_model_that_is_not_the_trials_is_not_written(run, checkpoint, tmp_path):
    out, weights, other = tmp_path / "out", weights_path(run / "trials" / "0001", 2), trial_model(checkpoint, NAMES, 0)
    torch.nn.init.normal_(other.class_labels_classifier.bias)
    save_weights(other, frozenset(PARTS), weights)
    assert_refused(export(run, "--trial", 1, "--out", out), "--trial 1: its model has a val_loss of ", "reported ")
    weights.write_bytes(b"torn")
    assert_refused(export(run, "--trial", 1, "--out", out), "--trial 1: its model cannot be made on top of ")
    assert sorted(path.name for path in tmp_path.iterdir()) == [run.name]


def test_a_model_is_written_for_onnxruntime_as_well(run, data_folder, tmp_path):
    out = tmp_path / "out"
    result = export(run, "--trial", 1, "--out", out, "--format", "onnx")
    assert result.exit_code == 0, result.output
    assert f"onnx     {out}/model.onnx, opset " in result.output
    assert "on 4 pairs, boxes within " in result.output and " of torch's, F1 " in result.output
    pair = [data_folder / side / "v0.png" for side in ("before", "after")]
    words = ["--model", out / "model.onnx", *pair, "--out", tmp_path / "found"]
    predicted = CliRunner().invoke(results.predict.app, [str(word) for word in words])
    assert predicted.exit_code == 0 and "as the model's config recommends" in predicted.output, predicted.output


def test_what_cannot_be_exported_leaves_nothing(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert_refused(
        export(run, "--trial", 1, "--out", tmp_path / "new" / "out", "--format", "onnx"),
        "onnxscript is missing: pip install 'moved-object-search[onnx]'",
    )
    assert not (tmp_path / "new").exists()
