"""Whatever a model is given of a pair, it trains, resumes, is evaluated, predicts and says how it is to be used."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from results import evaluate, predict
from results.measures.metrics import evaluate_checkpoint
from results.model.model_card import Origin, write_model_card
from tests.moved_camera import write_pairs
from tests.results.model.test_model_card import metrics
from trainable import train
from trainable.data.dataset import padded_size
from trainable.data.pairs import read_pairs
from trainable.data.resizing import signal_of
from trainable.detector.loading import load_processor
from trainable.model_signal import DIFFERENCE, FEATURES, SIGNALS, STACKED
from trainable.recipe import PARTS, Augmentation, Input, Recipe, Stage
from trainable.reuse.config import ReuseConfig
from trainable.sample import CHECKPOINT
from trainable.training.staged_trainer import train_recipe

RECIPE = Recipe((Stage("heads", PARTS[3:], 1, 1e-3), Stage("all", PARTS, 2, 1e-3)), accumulation_steps=1)


def run(command, *arguments):
    result = CliRunner().invoke(command.app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """Folder of pairs whose camera moves."""
    return write_pairs(tmp_path_factory.mktemp("moved") / "pairs")


@pytest.fixture(scope="module", params=SIGNALS)
def signal(request):
    return request.param


@pytest.fixture(scope="module")
def trained(signal, moved, checkpoint, tmp_path_factory):
    """What `train.py` makes of a recipe with the signal."""
    folder = tmp_path_factory.mktemp(signal)
    (folder / "recipe.yaml").write_text(dataclasses.replace(RECIPE, input=Input(signal=signal)).to_yaml())
    wanted = ("--recipe", folder / "recipe.yaml", "--data", moved, "--model", checkpoint, "--out", folder / "out")
    run(train, *wanted)
    return folder / "out"


def losses(folder: Path) -> list[float]:
    return [row["val_loss"] for row in json.loads((folder / "progress.json").read_text())["history"]]


def test_the_signal_goes_with_the_model_and_evaluation_gives_the_loss_of_the_training(trained, signal, moved, tmp_path):
    assert signal_of(load_processor(trained / "model")) == signal
    run(evaluate, "--model", trained / "model", "--data", moved, "--out", tmp_path / "out")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found["val_loss"] == pytest.approx(min(losses(trained)), rel=1e-5)


def test_only_a_model_of_another_signal_says_so_in_its_files(trained, signal):
    said = [
        "signal" in json.loads((trained / "model" / f"{name}.json").read_text())
        for name in ("config", "preprocessor_config")
    ]
    assert said == [signal != DIFFERENCE] * 2


def test_predictions_are_those_of_the_evaluation(trained, moved, tmp_path):
    pairs = read_pairs(moved)
    padded = padded_size(pairs.val, load_processor(trained / "model"))
    whole = evaluate_checkpoint(trained / "model", pairs.val, pairs.names, padded, cpus=1)
    run(predict, "--model", trained / "model", "--score", 0, "--out", tmp_path, moved / "before", moved / "after")
    found = {each["id"]: each["boxes"] for each in json.loads((tmp_path / "predictions.json").read_text())["pairs"]}
    for pair, detections in zip(pairs.val, whole.detections, strict=True):
        scores = [box["score"] for box in found[pair.id]]
        assert scores and set(np.round(scores, 5)) <= set(np.round(detections.scores.tolist(), 5))


def test_another_signal_trains_to_other_losses(moved, checkpoint, tmp_path):
    found = {}
    for signal in SIGNALS:
        recipe = dataclasses.replace(RECIPE, input=Input(signal=signal))
        trial = train_recipe(recipe, read_pairs(moved), str(checkpoint), tmp_path / signal, lambda row: None)
        found[signal] = [row.val_loss for row in trial.history]
    assert found[STACKED][0] == pytest.approx(found[DIFFERENCE][0], rel=1e-5), "the heads alone are given the same"
    assert len({tuple(values) for values in found.values()}) == len(SIGNALS)


@pytest.mark.parametrize("variants", [None, 2])
def test_caches_change_no_bit(signal, variants, moved, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    augmentation = Augmentation(0.7, 0.6, variants)
    recipe = dataclasses.replace(RECIPE, input=Input("auto", signal), augmentation=augmentation)
    rows = {}
    for name, reuse in (("without", ReuseConfig()), ("with", ReuseConfig(10**9))):
        trial = train_recipe(recipe, read_pairs(moved), str(checkpoint), tmp_path / name, lambda row: None, reuse=reuse)
        rows[name] = [(row.train_loss, row.val_loss) for row in trial.history]
    assert rows["with"] == rows["without"]
    kept = {folder.name for folder in (tmp_path / "cache" / "moved-object-search").iterdir() if folder.is_dir()}
    assert ("variants" in kept) == ("activations" in kept) == bool(variants)


@pytest.mark.parametrize("variants", [None, 2])
def test_killed_after_any_epoch_a_recipe_with_all_of_it_goes_on_to_the_same_end(
    signal, variants, moved, checkpoint, tmp_path
):
    pairs = read_pairs(moved)
    recipe = dataclasses.replace(RECIPE, input=Input("auto", signal), augmentation=Augmentation(0.7, 0.6, variants))
    unbroken = train_recipe(recipe, pairs, str(checkpoint), tmp_path / "unbroken", lambda row: None)

    def stop(row):
        raise KeyboardInterrupt

    for _ in range(recipe.epochs - 1):
        with pytest.raises(KeyboardInterrupt):
            train_recipe(recipe, pairs, str(checkpoint), tmp_path / "trial", _after_known(tmp_path / "trial", stop))
    trial = train_recipe(recipe, pairs, str(checkpoint), tmp_path / "trial", lambda row: None)
    assert [row.val_loss for row in trial.history] == [row.val_loss for row in unbroken.history]
    assert [row.train_loss for row in trial.history] == [row.train_loss for row in unbroken.history]


def _after_known(folder, stop):
    """Reports what the folder knows already, and stops with the next epoch."""
    known = len(losses(folder)) if (folder / "progress.json").exists() else 0
    return lambda row: stop(row) if row.epoch > known else None


def test_that_pairs_drawn_anew_are_computed_anew_is_said_once(moved, checkpoint, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    from trainable.training import staged_trainer

    staged_trainer._say_computed_anew.cache_clear()
    stages = (Stage("heads", PARTS[3:], 1, 1e-3), Stage("heads again", PARTS[3:], 1, 1e-4))
    recipe, reuse = Recipe(stages, augmentation=Augmentation(0.7)), ReuseConfig(10**9)
    train_recipe(recipe, read_pairs(moved), str(checkpoint), tmp_path / "trial", lambda row: None, reuse=reuse)
    said = [record.message for record in caplog.records if "computed anew" in record.message]
    assert len(said) == 1 and "augmentation.variants" in said[0]


def test_the_card_says_what_the_model_is_given_and_its_program_runs(trained, signal, moved, pair_data, capsys):
    recipe = dataclasses.replace(RECIPE, input=Input(signal=signal))
    write_model_card(trained / "model", Origin("run", 1, 2, str(CHECKPOINT)), pair_data, recipe, metrics())
    text = (trained / "model" / "README.md").read_text()
    assert ("FeatureDifferenceDetr" in text) == (signal == FEATURES)
    assert ("cannot tell an object that came" in text) == (signal != STACKED)
    program = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    for side in ("before", "after"):
        program = program.replace(f'"{side}.png"', repr(str(moved / side / "v0.png")))
    torch.set_num_threads(1)
    exec(program.replace("path/to/this/folder", str(trained / "model")), {})
    assert capsys.readouterr().out.startswith("[")
