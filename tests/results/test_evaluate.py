"""The evaluation of any model on any data set: a run's numbers again, and what is refused."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from transformers import AutoConfig, AutoImageProcessor, AutoModelForObjectDetection
from typer.testing import CliRunner, Result

import results.predict
from results.evaluate import app
from results.journal.journal import TrialRecord
from results.measures.metrics import evaluate_checkpoint
from results.measures.operating_point import PointRule, useful_range
from results.model.best import write_best, write_test
from results.retrained import Chosen
from tests.made_up import made_up_row
from trainable.compute import usable_device
from trainable.data.dataset import padded_size
from trainable.data.pair import Pair
from trainable.data.pairs import PairData, read_pairs
from trainable.detector.loading import load_model, load_processor
from trainable.recipe import PARTS, reference
from trainable.training.evaluation import Evaluation
from trainable.training.trial_folder import weights_path
from trainable.training.weights import save_weights, trial_model

NAMES = ("person", "car")


@pytest.fixture(scope="module")
def checkpoint(finding_checkpoint: Path) -> Path:
    """Its classes are those of the data set, and it finds something."""
    return finding_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, pair_data: PairData) -> Path:
    """A run folder whose best trial is the reference after one epoch, evaluated with --min-recall 0.9 and --test."""
    return write_run(tmp_path_factory.mktemp("run"), checkpoint, pair_data)


def write_run(run: Path, checkpoint: Path, pair_data: PairData) -> Path:
    trial = run / "trials" / "0000"
    save_weights(trial_model(checkpoint, NAMES, 0), frozenset(PARTS), weights_path(trial, 1))
    recipe = reference(3)
    (trial / "recipe.yaml").write_text(recipe.to_yaml())
    history = [made_up_row(1, 2.5)]
    record = TrialRecord(0, {}, recipe, True, asked=0.0, status="COMPLETED", history=history)
    padded = padded_size((*pair_data.train, *pair_data.val), load_processor(checkpoint))

    def evaluate(model: Path, pairs: tuple[Pair, ...] = pair_data.val) -> Evaluation:
        return evaluate_checkpoint(model, pairs, NAMES, padded, cpus=1, device=usable_device())

    rule = PointRule(min_recall=0.9)
    choice = Chosen(record, "trials/0000", "The best recipe")
    best = write_best(run, choice, pair_data, str(checkpoint), evaluate, "python trainable/train.py", rule, 2)
    test = pair_data if best.metrics["boxes"] else dataclasses.replace(pair_data, train=())
    on_test = evaluate(run / "best" / "model", (*test.train, *test.val))
    write_test(run, test, on_test, rule, best.metrics["counted_at"])
    return run


def evaluated(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def metrics_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def test_it_gives_the_numbers_of_the_run(run: Path, data_folder: Path, tmp_path: Path) -> None:
    arguments = ("--model", run / "best" / "model", "--data", data_folder, "--out", tmp_path, "--min-recall", 0.9)
    result = evaluated(*arguments)
    assert result.exit_code == 0, result.output
    assert metrics_of(tmp_path) == metrics_of(run / "best")
    assert (tmp_path / "sweep.csv").read_text() == (run / "best" / "sweep.csv").read_text()
    assert f"val_loss {metrics_of(tmp_path)['val_loss']:.4f}" in result.output


def test_it_gives_the_numbers_of_the_runs_test_set(run: Path, data_folder: Path, tmp_path: Path) -> None:
    threshold = metrics_of(run / "best")["recommended"]["score_threshold"]
    where = ("--model", run / "best" / "model", "--data", data_folder, "--out", tmp_path)
    assert evaluated(*where, "--split", "all", "--score-threshold", threshold, "--min-recall", 0.9).exit_code == 0
    assert metrics_of(tmp_path) == metrics_of(run / "best" / "test")
    assert metrics_of(tmp_path)["recommended"]["score_threshold"] == threshold


def test_what_is_asked_of_the_operating_point_and_cannot_be_is_said(run: Path) -> None:
    for metrics in (metrics_of(run / "best"), metrics_of(run / "best" / "test")):
        assert metrics["recommended"]["constraint_kept"] is False
        assert metrics["recommended"]["constraint"].startswith("recall >= 0.9 ")
        assert metrics["recommended"]["recall"] < 0.9


def test_the_metrics_of_the_operating_point_agree_with_each_other(run: Path, pair_data: PairData) -> None:
    metrics = metrics_of(run / "best")
    point, rows = metrics["recommended"], metrics["pairs_by_loss"]
    assert [sum(row[name] for row in rows) for name in ("tp", "fp", "fn")] == [point["tp"], point["fp"], point["fn"]]
    assert sum(count for kind, count in metrics["errors"].items() if kind != "missed") == point["fp"]
    assert sorted(row["id"] for row in rows) == [pair.id for pair in pair_data.val]
    assert [row["loss"] for row in rows] == sorted((row["loss"] for row in rows), reverse=True)
    assert set(point["interval"]) == {"precision", "recall", "f1"}
    assert metrics["flagged"]["ids"] == [row["id"] for row in rows if row["flagged"]]
    useful = useful_range(pd.read_csv(run / "best" / "sweep.csv"))
    assert metrics["calibration"]["lowest_score"] == (useful and useful[0])


@pytest.mark.parametrize(("split", "pairs"), [("train", 8), ("val", 4), ("all", 12)])
def test_the_split_says_which_pairs_count(run: Path, data_folder: Path, tmp_path: Path, split: str, pairs: int) -> None:
    where = ("--model", run / "best" / "model", "--data", data_folder, "--out", tmp_path)
    assert evaluated(*where, "--split", split).exit_code == 0
    assert metrics_of(tmp_path)["pairs"] == len(metrics_of(tmp_path)["pairs_by_loss"]) == pairs


def test_plain_transformers_loads_the_model_and_keeps_its_score_threshold(run: Path, tmp_path: Path) -> None:
    model = run / "best" / "model"
    threshold = metrics_of(run / "best")["recommended"]["score_threshold"]
    assert AutoConfig.from_pretrained(model).score_threshold == threshold
    loaded = AutoModelForObjectDetection.from_pretrained(model)
    loaded.save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(model).save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).score_threshold == threshold
    assert load_model(tmp_path, NAMES).config.score_threshold == threshold


@pytest.fixture(scope="module")
def unmeasured(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Path, pair_data: PairData, data_folder: Path
) -> tuple[Path, Path]:
    """A run whose validation and test pairs have no box, on top of a model that has a threshold; and its data."""
    folder = Path(shutil.copytree(data_folder, tmp_path_factory.mktemp("no boxes") / "pairs"))
    for id_ in range(4):
        (folder / "labels" / f"v{id_}.txt").write_text("")
    older = Path(shutil.copytree(checkpoint, folder.parent / "older"))
    config = json.loads((older / "config.json").read_text())
    (older / "config.json").write_text(json.dumps(config | {"score_threshold": 0.9}))
    return write_run(folder.parent / "run", older, read_pairs(folder)), folder


def test_without_a_box_to_measure_by_no_threshold_is_written_anywhere(unmeasured: tuple[Path, Path]) -> None:
    run, _ = unmeasured
    for folder in (run / "best", run / "best" / "test"):
        metrics = metrics_of(folder)
        assert metrics["recommended"] is None
        assert metrics["not_recommended"] == "there is no labelled box to measure it by"
        assert metrics["counted_at"] == 0.5
        assert metrics["errors"]["background"] > 0, "wrong detections are counted all the same"
    assert "score_threshold" not in json.loads((run / "best" / "model" / "config.json").read_text())
    header = (run / "best" / "recipe.yaml").read_text().partition("stages:")[0]
    assert "No score threshold can be recommended for the model: there is no labelled box" in header
    card = (run / "best" / "model" / "README.md").read_text()
    for text in (header, card):
        assert "score >=" not in text and "1.00" not in text


def test_without_a_box_to_measure_by_evaluate_and_predict_say_so(unmeasured: tuple[Path, Path], tmp_path: Path) -> None:
    run, data = unmeasured
    result = evaluated("--model", run / "best" / "model", "--data", data, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "no score threshold can be recommended: there is no labelled box to measure it by" in result.output
    assert "errors at score >= 0.50: " in result.output and "precision" not in result.output
    pair = [data / side / "v0.png" for side in ("before", "after")]
    words = ["--model", run / "best" / "model", *pair, "--out", tmp_path / "found"]
    predicted = CliRunner().invoke(results.predict.app, [str(word) for word in words])
    assert "at score >= 0.50, since the model's config recommends none" in predicted.output


def test_the_recipes_header_says_where_to_run_the_model(run: Path) -> None:
    point = metrics_of(run / "best")["recommended"]
    low, high = point["interval"]["recall"]
    header = (run / "best" / "recipe.yaml").read_text().partition("stages:")[0]
    assert f"score >= {point['score_threshold']:.2f}" in header
    assert f"recall {point['recall']:.3f} ({low:.3f} to {high:.3f})" in header


def test_a_folder_without_a_model_is_refused(data_folder: Path, tmp_path: Path) -> None:
    result = evaluated("--model", tmp_path / "nope", "--data", data_folder, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "no folder with a config.json" in result.output
    (tmp_path / "run" / "best" / "model").mkdir(parents=True)
    (tmp_path / "run" / "best" / "model" / "config.json").write_text("{}")
    result = evaluated("--model", tmp_path / "run", "--data", data_folder, "--out", tmp_path / "out")
    assert f"give its best model, {tmp_path / 'run' / 'best' / 'model'}" in result.output
    assert not (tmp_path / "out").exists()


def test_data_that_are_not_there_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    result = evaluated("--model", checkpoint, "--data", tmp_path / "nope", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "nope: no such file or folder" in result.output


def test_a_model_of_other_classes_is_refused(
    make_checkpoint: Callable[..., Path], data_folder: Path, tmp_path: Path
) -> None:
    result = evaluated("--model", make_checkpoint(("car", "person")), "--data", data_folder, "--out", tmp_path)
    assert result.exit_code == 2
    assert "it finds car, person, but the data set" in result.output
    assert not (tmp_path / "metrics.json").exists()


def test_a_model_that_is_no_detr_is_refused(data_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    result = evaluated("--model", tmp_path, "--data", data_folder, "--out", tmp_path)
    assert result.exit_code == 2
    assert "only models of type conditional_detr, " in result.output


@pytest.mark.parametrize("flag", ["--min-precision", "--min-recall", "--score-threshold"])
def test_a_share_beyond_one_is_refused(checkpoint: Path, flag: str) -> None:
    result = evaluated("--model", checkpoint, flag, "1.5")
    assert result.exit_code == 2
    assert flag in result.output
