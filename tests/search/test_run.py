"""Whole searches through the command line: complete, repeated, killed, interrupted, extended, failing."""

import json
import os
import re
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from results.journal import read_journal
from results.table import tables_agree

TRIALS, MAX_EPOCHS = 5, 6
STATES = {"COMPLETED": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def flags(storage: Path, data_folder: Path, checkpoint: Path) -> tuple[Any, ...]:
    """Of the search that all tests are about, but its name."""
    return (
        *("--data", data_folder, "--model", checkpoint, "--storage", storage, "--trials", TRIALS),
        *("--max-epochs", MAX_EPOCHS, "--max-concurrent", 1, "--seed", 3),
    )


@pytest.fixture(scope="module")
def complete(start: Callable[..., Any], storage: Path, flags: tuple[Any, ...]) -> tuple[Path, str]:
    """The run folder and the output of a search that nothing disturbed."""
    search = start(*flags, "--name", "complete")
    code, output = search.wait()
    assert code == 0, output
    search.assert_all_gone()
    return storage / "complete", output


def table_of(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "results.parquet")


def assert_each_event_once(run: Path) -> None:
    events = read_journal(run / "journal.jsonl")
    kinds = Counter((event["event"], event["trial"], event.get("metrics", {}).get("epoch")) for event in events)
    assert set(kinds.values()) == {1}
    assert sum(kind == "ended" for kind, _, _ in kinds) == len({event["trial"] for event in events})


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
    reported = [event["metrics"] for event in read_journal(run / "journal.jsonl") if event["event"] == "reported"]
    history = pd.read_parquet(run / "history.parquet")
    assert history["val_loss"].tolist() == [metrics["val_loss"] for metrics in reported]
    assert history.groupby("trial_id")["val_loss"].min().tolist() == table["val_loss"].tolist()
    assert_each_event_once(run)


def test_the_reference_comes_first_and_is_not_pruned(complete):
    run, output = complete
    first = table_of(run).iloc[0]
    assert first["reference"] and first["status"] == "COMPLETED" and first["epochs"] == MAX_EPOCHS
    assert not table_of(run)["reference"][1:].any()
    assert [first[f"stages.{index}.epochs"] for index in range(3)] == [1, 1, 4]
    assert re.search(r"^ *0 \(reference\) +completed", output, re.MULTILINE)


def test_the_study_on_disk_has_the_states_of_the_table(complete):
    run, _ = complete
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{run / 'optuna.db'}")
    states = {trial.user_attrs["trial"]: trial.state for trial in study.trials}
    table = table_of(run)
    assert states == {number: STATES[status] for number, status in enumerate(table["status"])}
    values = {trial.user_attrs["trial"]: trial.value for trial in study.trials if trial.state == TrialState.COMPLETE}
    completed = table[table["status"] == "COMPLETED"]
    assert values == {
        int(trial): loss for trial, loss in zip(completed["trial_id"], completed["val_loss"], strict=True)
    }


def test_the_best_model_loads_with_plain_transformers_and_gives_the_best_loss_exactly(complete, pair_data):
    from transformers import AutoImageProcessor, AutoModelForObjectDetection

    from trainable.data.dataset import MovedObjectDataset, PairCollator, padded_size
    from trainable.evaluation import evaluate

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
    assert environment["packages"]["torch"] and environment["seed"] == 3
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


def test_of_two_searches_of_one_name_the_one_that_is_let_in_gives_the_same_table(complete, start, storage, flags):
    twins = [start(*flags, "--name", "twin").wait for _ in range(2)]
    (code, output), (refused_code, refusal) = sorted(wait() for wait in twins)
    assert (code, refused_code) == (0, 2), output + refusal
    assert refusal.startswith(f"--name twin: {storage / 'twin'} is taken; choose another name, or go on with --resume ")
    assert tables_agree(table_of(complete[0]), table_of(storage / "twin")) == []
    assert_each_event_once(storage / "twin")


def test_a_search_killed_moved_and_interrupted_ends_as_the_undisturbed_one(complete, start, storage, flags):
    killed = start(*flags, "--name", "broken")
    killed.wait_for_events(storage / "broken" / "journal.jsonl", 4)
    os.killpg(killed.process.pid, signal.SIGKILL)
    assert killed.wait()[0] == -signal.SIGKILL
    killed.assert_all_gone()
    before = len(read_journal(storage / "broken" / "journal.jsonl"))
    run = (storage / "broken").rename(storage / "moved")

    interrupted = start("--resume", run)
    interrupted.wait_for_events(run / "journal.jsonl", max(MAX_EPOCHS + 5, before + 1))
    os.kill(interrupted.process.pid, signal.SIGINT)
    code, output = interrupted.wait()
    assert code == 130, output
    assert output.splitlines()[-1] == f"python search/run.py --resume {run}"
    interrupted.assert_all_gone()
    assert "RUNNING" in table_of(run)["status"].tolist() or len(table_of(run)) < TRIALS

    code, output = start("--resume", run).wait()
    assert code == 0, output
    assert tables_agree(table_of(complete[0]), table_of(run)) == []
    assert_each_event_once(run)
    metrics = [json.loads((folder / "best" / "metrics.json").read_text()) for folder in (complete[0], run)]
    assert metrics[0]["val_loss"] == metrics[1]["val_loss"]


def test_a_finished_search_is_extended_without_running_anything_again(complete, start, storage):
    run = Path(shutil.copytree(complete[0], storage / "extended"))
    before, old = (run / "journal.jsonl").read_bytes(), table_of(run)
    code, output = start("--resume", run, "--trials", TRIALS + 2).wait()
    assert code == 0 and f"{TRIALS} finished already" in output, output
    journal = (run / "journal.jsonl").read_bytes()
    assert journal.startswith(before)
    assert {json.loads(line)["trial"] for line in journal[len(before) :].splitlines()} == {TRIALS, TRIALS + 1}
    table = table_of(run)
    assert len(table) == TRIALS + 2 and "RUNNING" not in set(table["status"])
    columns = old.columns
    assert old.equals(table.loc[: TRIALS - 1, columns].astype(old.dtypes))
    assert_each_event_once(run)


def test_a_time_budget_that_is_over_leaves_results_and_the_command_that_goes_on(complete, start, storage):
    run = Path(shutil.copytree(complete[0], storage / "hurried"))
    shutil.rmtree(run / "best")
    search = start("--resume", run, "--trials", TRIALS + 1, "--time-budget", "0.01s")
    code, output = search.wait()
    assert code == 0, output
    assert output.splitlines()[-1] == (
        f"stopped with 1 of {TRIALS + 1} trial(s) still to do; go on with: python search/run.py --resume {run}"
    )
    assert (run / "best" / "metrics.json").exists() and len(table_of(run)) == TRIALS
    search.assert_all_gone()


FAILING = """
import dataclasses
import optuna
from trainable.recipe import Recipe, Stage

def sometimes(trial, max_epochs):
    \"\"\"Raises for trial 1, overflows in trial 2, and is no recipe in trial 3.\"\"\"
    recipe = Recipe((Stage("heads", ("box_head", "class_head"), 3, trial.suggest_float("rate", 1e-5, 1e-3)),))
    if isinstance(trial.study.sampler, optuna.samplers.RandomSampler):  # only tried
        return recipe
    if trial.number == 1:
        raise ValueError("no rate below this one")
    if trial.number == 2:
        return dataclasses.replace(recipe, weight_decay=1e300)
    return None if trial.number == 3 else recipe
"""


def test_a_failed_trial_is_a_row_with_its_error_and_the_search_goes_on(start, storage, flags, tmp_path):
    (tmp_path / "mine.py").write_text(FAILING)
    code, output = start(*flags, "--name", "failing", "--space", f"{tmp_path / 'mine.py'}:sometimes").wait()
    assert code == 0, output
    table = table_of(storage / "failing")
    assert table["status"].tolist()[1:4] == ["FAILED"] * 3 and "FAILED" not in table["status"].tolist()[::4]
    assert table["error"][1].endswith("raised ValueError: no rate below this one")
    assert table["error"][2].startswith("FloatingPointError: stage 'heads', update 1 of 3, learning rate ")
    assert "sometimes raised" in table["error"][3]
    assert "3 trial(s) failed; the table's column `error` says why" in output
    assert "FloatingPointError" in (storage / "failing" / "trials" / "0002" / "error.txt").read_text()
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{storage / 'failing' / 'optuna.db'}")
    states = {trial.user_attrs["trial"]: trial.state for trial in study.trials}
    assert [states[number] for number in (1, 2, 3)] == [TrialState.FAIL] * 3


VANISHING = """
from pathlib import Path
from trainable.recipe import Recipe, Stage

def vanishing(trial, max_epochs):
    return Recipe((Stage("heads", ("class_head",), 2, 1e-4),))

def reference_parameters(max_epochs):
    if Path({started!r}).exists():  # as if somebody had removed it since the data were checked
        Path({picture!r}).unlink(missing_ok=True)
"""


def test_a_search_in_which_no_trial_succeeds_exits_with_3(start, storage, data_folder, checkpoint, tmp_path):
    data = Path(shutil.copytree(data_folder, tmp_path / "data"))
    picture, started = str(data / "before" / "v0.png"), str(storage / "vanished" / "search.yaml")
    (tmp_path / "mine.py").write_text(VANISHING.format(picture=picture, started=started))
    code, output = start(
        *("--data", data, "--model", checkpoint, "--storage", storage, "--name", "vanished", "--trials", 2),
        *("--max-epochs", 3, "--max-concurrent", 1, "--space", f"{tmp_path / 'mine.py'}:vanishing"),
        *("--cache-size", 0),  # with the store, trials would not notice
    ).wait()
    assert code == 3, output
    table = table_of(storage / "vanished")
    assert table["status"].tolist() == ["FAILED", "FAILED"]
    assert all("v0.png" in error for error in table["error"])
    assert "no trial succeeded; why each failed is in results.md" in output and str(storage / "vanished") in output
    assert not (storage / "vanished" / "best").exists()
