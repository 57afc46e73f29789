"""One search over models of two families: which one, and how, is chosen by what they find."""

import json
import re
from pathlib import Path

import optuna
import pytest
import yaml
from typer.testing import CliRunner

from results.export_model import app as export
from tests.tiny_detectors import save_tiny_detector
from tests.whole_search import assert_each_event_once, reports_of, table_of
from trainable.history import best_row
from trainable.recipe import Recipe
from trainable.sample import CHECKPOINT, EMBEDDED
from trainable.train import app as train
from trainable.training.trial_folder import TrialFolder

TRIALS, MAX_EPOCHS, PAIRS = 5, 4, 12


@pytest.fixture(scope="module")
def square(tmp_path_factory) -> Path:
    return save_tiny_detector("rt_detr", tmp_path_factory.mktemp("models") / "rt_detr")


@pytest.fixture(scope="module")
def searched(start, storage, square) -> tuple[Path, str]:
    """The run folder and the output of a search of the sample data set that was killed once and gone on with."""
    run = storage / "several models"
    models = ("--model", EMBEDDED, "--model", square, "--metric", "map", "--subset", PAIRS)
    budget = ("--trials", TRIALS, "--max-epochs", MAX_EPOCHS, "--max-concurrent", 1)
    search = start(*models, *budget, "--storage", storage, "--name", run.name)
    search.wait_for(lambda: len(reports_of(run)) > MAX_EPOCHS, "report of trial 1")
    search.kill()
    code, output = start("--resume", run).wait()
    assert code == 0, output
    return run, output


def test_both_are_tried_and_the_best_is_the_one_that_finds_most(searched, square):
    run, output = searched
    table = table_of(run)
    assert set(table["model"]) == {EMBEDDED, str(square)} and set(table["metric"]) == {"map"}
    assert table["model"][0] == EMBEDDED, "the reference starts from the first"
    best = table.loc[table["map"].idxmax()]
    assert best["map"] > 0 and best["model"] == EMBEDDED
    recipe = Recipe.from_yaml(run / "best" / "recipe.yaml")
    assert (recipe.model, recipe.metric) == (EMBEDDED, "map")
    assert json.loads((run / "best" / "metrics.json").read_text())["mAP"] == pytest.approx(best["map"], abs=1e-12)
    assert re.search("starts from +trials +mAP +of trial", output)
    assert "compared by mAP" in output
    assert_each_event_once(run)


def test_the_tables_and_the_study_hold_what_was_compared(searched):
    run, _ = searched
    values = [event.metrics.map for event in reports_of(run)]
    assert all(value is not None for value in values)
    table = table_of(run)
    assert table["map"].max() == max(values)
    study = optuna.load_study(study_name=run.name, storage=f"sqlite:///{run / 'optuna.db'}")
    assert study.metric_names == ["1 - mAP"]
    completed = {trial.user_attrs["trial"]: trial.value for trial in study.trials if trial.value is not None}
    assert completed and all(table["map"][number] == pytest.approx(1 - value) for number, value in completed.items())


def test_the_report_says_what_each_model_has_come_to(searched):
    run, _ = searched
    page = (run / "report.html").read_text()
    assert "By model" in page and "highest mAP" in page
    assert '<th scope="row">rt_detr</th>' in page and '<th scope="row">embedded</th>' in page
    assert "lowest val_loss" not in page


def test_a_recipe_is_trained_again_from_the_model_that_it_says(searched, tmp_path, monkeypatch):
    run, _ = searched
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe = run / "best" / "recipe.yaml"
    command = recipe.read_text().split("# Train it again:\n#   ")[1].splitlines()[0]
    assert "--model" not in command
    again = CliRunner().invoke(train, ["--recipe", str(recipe), "--subset", str(PAIRS), "--out", str(tmp_path / "out")])
    assert again.exit_code == 0, again.output
    row = best_row(TrialFolder(tmp_path / "out", Recipe.from_yaml(recipe)).history)
    assert row.map == table_of(run)["map"].max()
    assert f"best mAP {row.map:.4f}" in again.output


def test_the_model_of_a_trial_is_exported_on_top_of_the_checkpoint_that_it_started_from(searched, square, tmp_path):
    run, _ = searched
    table = table_of(run)
    trial = table.index[table["model"] == str(square)][0]
    result = CliRunner().invoke(export, [str(run), "--trial", str(trial), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_type"] == "rt_detr"
    assert str(CHECKPOINT) not in result.output


def test_the_options_name_all_models(searched, square):
    run, _ = searched
    assert yaml.safe_load((run / "search.yaml").read_text())["model"] == [EMBEDDED, str(square)]
