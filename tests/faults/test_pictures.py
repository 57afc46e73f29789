"""A picture that goes bad during a search: the trial that needs it fails by its name; with --skip-bad it goes on."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from trainable.data.difference import PictureError
from trainable.data.pairs import read_pairs
from trainable.economy import NO_CACHE, Economy
from trainable.recipe import PARTS, Recipe, Stage
from trainable.staged_trainer import train_recipe

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

    def train(pairs, name="trial", economy=NO_CACHE):
        return train_recipe(RECIPE, pairs, checkpoint, tmp_path / name, lambda row: None, economy=economy)

    return train


def losses(trial):
    return [row["val_loss"] for row in trial.history]


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
@pytest.mark.parametrize("economy", [NO_CACHE, Economy(10**9)], ids=["without a cache", "with a cache"])
def test_with_skip_bad_another_pair_stands_in_and_the_file_is_named(train, data, side, go_bad, economy, caplog):
    pairs = read_pairs(data, skip_bad=True)
    path = getattr(pairs, side)[1].after
    go_bad(path)
    assert len(train(pairs, economy=economy).history) == 2
    assert f"{path}" in caplog.text
    assert "another pair stands in for it" in caplog.text


def test_a_picture_that_goes_bad_after_it_was_cached_is_not_missed(train, data):
    pairs, economy = read_pairs(data), Economy(10**9)
    before = train(pairs, "before", economy)
    for pair in pairs.train:
        delete(pair.before)
    assert losses(train(pairs, "after", economy)) == losses(before)


def test_where_no_picture_can_be_read_skipping_does_not_help(train, data):
    pairs = read_pairs(data, skip_bad=True)
    for pair in pairs.train:
        delete(pair.before)
    with pytest.raises(PictureError, match=r"before"):
        train(pairs)
