"""Searches through the command line: complete, out of time, without a success."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from results.journal.events import Reported
from results.journal.journal import read_journal
from results.table import tables_agree
from search.run_folder.identity import code_version
from tests.whole_search import MAX_EPOCHS, TRIALS, assert_each_event_once, assert_study_is_that_of_the_table, table_of


def test_every_file_of_the_run_folder_is_there(complete):
    run, _ = complete
    trial = ["trials/0000/recipe.yaml", "trials/0000/progress.json", "trials/0000/weights", "tensorboard/0000"]
    best = [f"best/{name}" for name in ("recipe.yaml", "model", "metrics.json", "sweep.csv")]
    for name in (
        *("results.csv", "results.parquet", "results.json", "results.md", "history.parquet", "tensorboard"),
        *("optuna.db", "environment.json", "search.yaml", "journal.jsonl", "tune", *best, *trial),
    ):
        assert (run / name).exists(), name
    assert not (run / "data_report.csv").exists()
    assert not list(run.glob("trials/*/stage-*")), "checkpoints of trials that have ended"


def test_the_tables_agree_with_each_other_and_the_journal(complete):
    run, _ = complete
    table = table_of(run)
    as_csv = pd.read_csv(run / "results.csv", dtype={"trial_id": str}, float_precision="round_trip")
    as_json = pd.DataFrame(json.loads((run / "results.json").read_text()))
    assert tables_agree(table, as_csv) == tables_agree(table, as_json) == []
    assert table["trial_id"].tolist() == [f"{number:04d}" for number in range(TRIALS)]
    assert (run / "results.md").read_text().count("\n| 0") == TRIALS
    reported = [event.metrics for event in read_journal(run / "journal.jsonl") if isinstance(event, Reported)]
    history = pd.read_parquet(run / "history.parquet")
    assert history["val_loss"].tolist() == [row.val_loss for row in reported]
    assert history.groupby("trial_id")["val_loss"].min().tolist() == table["val_loss"].tolist()
    assert_each_event_once(run)


def test_the_reference_comes_first_and_is_not_pruned(complete):
    run, output = complete
    first = table_of(run).iloc[0]
    assert first["reference"] and first["status"] == "COMPLETED" and first["epochs"] == MAX_EPOCHS
    assert not table_of(run)["reference"][1:].any()
    assert [first[f"stages.{index}.epochs"] for index in range(3)] == [1, 1, 4]
    assert re.search(r"^ *0 \(reference\) +completed", output, re.MULTILINE)


def test_the_study_on_disk_is_that_of_the_table(complete):
    assert_study_is_that_of_the_table(complete[0])


def test_the_best_model_loads_with_plain_transformers_and_gives_the_best_loss_exactly(complete, pair_data):
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    from trainable.data.dataset import MovedObjectDataset, PairCollator, padded_size
    from trainable.training.evaluation import evaluate

    run, _ = complete
    metrics = json.loads((run / "best" / "metrics.json").read_text())
    assert metrics["val_loss"] == table_of(run)["val_loss"].min()
    model = AutoModelForObjectDetection.from_pretrained(run / "best" / "model")
    processor = AutoImageProcessor.from_pretrained(run / "best" / "model", backend="pil")
    collator = PairCollator(*padded_size((*pair_data.train, *pair_data.val), processor))
    evaluation = evaluate(model, MovedObjectDataset(pair_data.val, processor), collator)
    assert evaluation.losses["val_loss"] == metrics["val_loss"]
    assert tuple(model.config.id2label.values()) == pair_data.names


def test_the_best_recipe_is_that_of_the_best_trial(complete):
    from trainable.recipe import Recipe

    run, _ = complete
    best = table_of(run).sort_values("val_loss", kind="stable").iloc[0]["trial_id"]
    recipe = Recipe.from_yaml(run / "best" / "recipe.yaml")
    assert recipe == Recipe.from_yaml(run / "trials" / best / "recipe.yaml")


def test_how_many_images_went_at_a_time_is_kept_shown_and_repeated(complete):
    """The machine has chosen, and whoever repeats the search has what it chose."""
    run, output = complete
    asked = yaml.safe_load((run / "search.yaml").read_text())
    assert asked["micro_batch"] == "16" and "--micro-batch 16" in asked["command"]
    table = table_of(run)
    steps = table["batch_size"] * table["accumulation_steps"]
    assert table["micro_batch"].tolist() == steps.clip(upper=16).tolist()
    assert "batch 2 x 16 (16 at a time)" in output
    assert " 16 (16 at a time), weight decay" in (run / "report.html").read_text(encoding="utf-8")


def test_the_best_recipe_trained_again_gives_the_bits_of_its_trial(complete, tmp_path, monkeypatch):
    from trainable.train import app as train
    from trainable.training.trial_folder import weights_path

    run, _ = complete
    best = table_of(run).sort_values("val_loss", kind="stable").iloc[0]
    header = (run / "best" / "recipe.yaml").read_text().partition("# Train it again:\n#   ")[2]
    words = shlex.split(header.partition("\n")[0])
    assert words[1] == "trainable/train.py" and "--micro-batch" not in words
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    again = CliRunner().invoke(train, [*words[2:], "--out", str(tmp_path / "again")])
    assert again.exit_code == 0, again.output
    before, after = (
        weights_path(folder, best["best_epoch"]).read_bytes()
        for folder in (run / "trials" / best["trial_id"], tmp_path / "again")
    )
    assert after == before


def test_the_sweep_has_every_threshold_for_every_class_and_all(complete, pair_data):
    run, _ = complete
    sweep = pd.read_csv(run / "best" / "sweep.csv")
    assert len(sweep) == 10 * 101 * (len(pair_data.names) + 1)
    assert set(sweep["class"]) == {*pair_data.names, "all"}
    assert not sweep.duplicated(["iou_threshold", "score_threshold", "class"]).any()


def test_tensorboard_has_the_curve_of_every_trial(complete):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, _ = complete
    history = pd.read_parquet(run / "history.parquet")
    for trial, rows in history.groupby("trial_id"):
        events = EventAccumulator(str(run / "tensorboard" / trial))
        events.Reload()
        curve = events.Scalars("val_loss")
        assert [point.step for point in curve] == rows["epoch"].tolist()
        assert [point.value for point in curve] == pytest.approx(rows["val_loss"].tolist())


def test_what_it_was_made_with_is_written(complete):
    run, _ = complete
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"] and environment["seed"] == 3 and environment["code"] == code_version()
    assert "search/run.py" in environment["command"] and "--max-epochs 6" in environment["command"]
    assert environment["resources"]["concurrent"] == 1


def test_the_output_ends_with_the_table_both_recipes_and_the_paths(complete):
    run, output = complete
    assert f"{TRIALS} trials of at most {MAX_EPOCHS} epochs, 1 at a time" in output
    end = output[output.index(f"best {TRIALS} of {TRIALS} trials") :]
    for title in ("best recipe (trial ", "the reference (trial 0)", "best model mAP "):
        assert title in end
    for name in ("results.csv", "best/recipe.yaml", "best/model", "best/metrics.json", "best/sweep.csv", "tensorboard"):
        assert str(run / name) in end
    assert all(Path(path).exists() for path in re.findall(rf"{re.escape(str(run))}\S*", end))
    assert "Warning" not in output and "Traceback" not in output


def test_a_time_budget_that_is_over_leaves_results_and_the_command_that_goes_on(complete, in_this_process, tmp_path):
    run = Path(shutil.copytree(complete[0], tmp_path / "hurried"))
    shutil.rmtree(run / "best")
    ended = in_this_process("--resume", run, "--trials", TRIALS + 1, "--time-budget", "0.0001s")
    assert ended.exit_code == 0, ended.output
    assert ended.output.splitlines()[-1] == (
        f"stopped with 1 of {TRIALS + 1} trial(s) still to do; go on with: python search/run.py --resume {run}"
    )
    assert (run / "best" / "metrics.json").exists() and len(table_of(run)) == TRIALS


def test_a_search_in_which_no_trial_succeeds_exits_with_3(in_this_process, tmp_path, data_folder, checkpoint):
    ended = in_this_process(
        *("--data", data_folder, "--model", checkpoint, "--storage", tmp_path, "--name", "failed", "--trials", 2),
        *("--max-epochs", 3, "--max-concurrent", 1),
        losses=lambda recipe, epoch: "ImageError: before/v0.png: there is no such file",
    )
    assert ended.exit_code == 3, ended.output
    run = tmp_path / "failed"
    table = table_of(run)
    assert table["status"].tolist() == ["FAILED", "FAILED"]
    assert all("v0.png" in error for error in table["error"])
    assert "no trial succeeded; why each failed is in results.md" in ended.output and str(run) in ended.output
    assert not (run / "best").exists()
