"""An image that goes bad during a search: the trial that needs it fails by its name; with --skip-bad it goes on."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from results import evaluate
from results.journal.journal import TrialRecord
from results.measures.metrics import evaluate_checkpoint
from results.measures.operating_point import PointRule
from results.model.best import Best, write_best
from results.retrained import Chosen
from trainable.data.dataset import padded_size
from trainable.data.difference import ImageError
from trainable.data.pairs import read_pairs
from trainable.detector.loading import load_processor
from trainable.recipe import PARTS, Recipe, Stage
from trainable.reuse.config import NO_CACHE, ReuseConfig
from trainable.training.staged_trainer import train_recipe

RECIPE = Recipe(
    (Stage("heads", PARTS[3:], epochs=1, learning_rate=1e-3), Stage("all", PARTS, epochs=1, learning_rate=1e-3)),
    accumulation_steps=2,
)


def delete(path: Path) -> None:
    path.unlink()


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def replace_by_a_smaller_one(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path)


WAYS_TO_GO_BAD = pytest.mark.parametrize("go_bad", [delete, cut_off, replace_by_a_smaller_one])


@pytest.fixture
def data(data_folder, tmp_path):
    return shutil.copytree(data_folder, tmp_path / "data")


@pytest.fixture
def train(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def train(pairs, name="trial", reuse=NO_CACHE):
        return train_recipe(RECIPE, pairs, checkpoint, tmp_path / name, lambda row: None, reuse=reuse)

    return train


def losses(trial):
    return [row.val_loss for row in trial.history]


@WAYS_TO_GO_BAD
@pytest.mark.parametrize("side", ["train", "val"])
def test_the_trial_fails_with_the_files_name(train, data, side, go_bad):
    pairs = read_pairs(data)
    path = getattr(pairs, side)[1].after
    go_bad(path)
    with pytest.raises(ValueError, match=path.name):
        train(pairs)


@WAYS_TO_GO_BAD
@pytest.mark.parametrize("side", ["train", "val"])
@pytest.mark.parametrize("reuse", [NO_CACHE, ReuseConfig(10**9)], ids=["without a cache", "with a cache"])
def test_with_skip_bad_another_pair_stands_in_and_the_file_is_named(train, data, side, go_bad, reuse, caplog):
    pairs = read_pairs(data, skip_bad=True)
    path = getattr(pairs, side)[1].after
    go_bad(path)
    assert len(train(pairs, reuse=reuse).history) == 2
    assert f"{path}" in caplog.text
    assert "another pair stands in for it" in caplog.text


def test_an_image_that_goes_bad_after_it_was_cached_is_not_missed(train, data):
    pairs, reuse = read_pairs(data), ReuseConfig(10**9)
    before = train(pairs, "before", reuse)
    for pair in pairs.train:
        delete(pair.before)
    assert losses(train(pairs, "after", reuse)) == losses(before)


def test_where_no_image_can_be_read_skipping_does_not_help(train, data):
    pairs = read_pairs(data, skip_bad=True)
    for pair in pairs.train:
        delete(pair.before)
    with pytest.raises(ImageError, match=r"before"):
        train(pairs)


@pytest.fixture
def write_best_of(checkpoint, tmp_path):
    """Writes `best/` of a run with one trial, after whatever has happened to the images since."""

    def write(trial, pairs) -> Best:
        record = TrialRecord(0, {}, RECIPE, True, 0.0, "COMPLETED", trial.history)
        shutil.copytree(tmp_path / "trial", tmp_path / "run" / "trials" / "0000")
        padded = padded_size((*pairs.train, *pairs.val), load_processor(checkpoint))
        how = {"pairs": pairs.val, "names": pairs.names, "padded": padded, "cpus": 1, "skip_bad": pairs.skip_bad}
        evaluated = partial(evaluate_checkpoint, **how)
        run = tmp_path / "run"
        best = Chosen(record, "trials/0000", "The best recipe")
        return write_best(run, best, pairs, str(checkpoint), evaluated, "train.py", PointRule(), overlays=12)

    return write


@WAYS_TO_GO_BAD
def test_with_skip_bad_the_best_model_is_written_and_the_file_named(train, data, tmp_path, write_best_of, go_bad):
    pairs = read_pairs(data, skip_bad=True)
    trial = train(pairs)
    lost, *rest = [pairs.val[1], pairs.val[0], *pairs.val[2:]]
    go_bad(lost.after)
    best = write_best_of(trial, pairs)
    (row,) = best.metrics["unread"]
    assert row["id"] == lost.id and str(lost.after) in row["why"]
    assert best.agrees, "nobody is told of a bug"
    assert best.metrics["pairs"] == len(rest) == len(best.metrics["pairs_by_loss"])
    assert best.metrics["boxes"] == sum(len(pair.labels.class_ids) for pair in rest)
    assert {row["id"] for row in best.metrics["pairs_by_loss"]} == {pair.id for pair in rest}
    assert len(list((tmp_path / "run" / "best" / "overlays").glob("*.png"))) == len(rest)
    assert (tmp_path / "run" / "best" / "model" / "model.safetensors").exists()


def test_the_loss_is_that_of_a_trial_in_which_the_same_pair_stood_in(train, data, write_best_of):
    pairs = read_pairs(data, skip_bad=True)
    delete(pairs.val[1].after)
    trial = train(pairs)
    best = write_best_of(trial, pairs)
    assert best.metrics["val_loss"] == pytest.approx(min(losses(trial)), rel=1e-6)


@WAYS_TO_GO_BAD
def test_without_it_the_best_model_waits_until_the_image_is_back(train, data, write_best_of, go_bad):
    pairs = read_pairs(data)
    trial = train(pairs)
    go_bad(pairs.val[1].after)
    with pytest.raises(ImageError, match=pairs.val[1].after.name):
        write_best_of(trial, pairs)


def test_both_images_of_another_size_are_no_smaller_pair(train, data, write_best_of):
    pairs = read_pairs(data, skip_bad=True)
    trial = train(pairs)
    for path in (pairs.val[1].before, pairs.val[1].after):
        replace_by_a_smaller_one(path)
    assert "is 8 x 8 pixels now and was" in write_best_of(trial, pairs).metrics["unread"][0]["why"]


@pytest.mark.parametrize("skip_bad", [True, False])
def test_an_image_that_goes_bad_while_a_model_is_evaluated(make_checkpoint, data, tmp_path, monkeypatch, skip_bad):
    read = evaluate.read_source

    def read_and_lose(*arguments, **how):
        pairs = read(*arguments, **how)
        delete(pairs.val[1].after)
        return pairs

    monkeypatch.setattr(evaluate, "read_source", read_and_lose)
    model, out = make_checkpoint(("person", "car")), tmp_path / "out"
    words = ["--model", str(model), "--data", str(data), "--out", str(out), *(["--skip-bad"] * skip_bad)]
    result = CliRunner().invoke(evaluate.app, words)
    if skip_bad:
        assert result.exit_code == 0 and "1 pair could not be read any more" in result.output
        assert len(json.loads((out / "metrics.json").read_text())["unread"]) == 1
    else:
        assert result.exit_code == 2 and "cannot be read as an image" in result.stderr
