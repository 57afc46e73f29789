"""A run folder that a dashboard reads while it is extended, and that is resumed with something else than begun."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import search.cluster.cluster
import search.cluster.preflight
import search.run_folder.identity
from results.journal.journal import Journal, read_journal
from search.command_line import app
from search.rungs import Promotion
from search.study import Budget, SearchStudy
from spaces.registry import load_space
from tests.whole_search import TRIALS, assert_each_event_once, assert_study_is_that_of_the_table, table_of

READY = "all checks are passed"


def test_a_dashboard_that_reads_the_study_costs_no_trial(unbroken, start, storage):
    run = Path(shutil.copytree(unbroken(), storage / "extended"))
    journal = run / "journal.jsonl"
    before, old = journal.read_bytes(), table_of(run)
    with contextlib.closing(sqlite3.connect(run / "optuna.db")) as dashboard:
        dashboard.execute("BEGIN")
        assert len(dashboard.execute("SELECT * FROM trials").fetchall()) == TRIALS
        extended = start("--resume", run, "--trials", TRIALS + 2)
        extended.wait_for(lambda: TRIALS + 1 in {event.trial for event in read_journal(journal)}, "second trial")
        assert len(dashboard.execute("SELECT * FROM trials").fetchall()) == TRIALS
    code, output = extended.wait()
    assert code == 0, output
    assert "optuna.db" not in output and "Traceback" not in output
    assert_each_event_once(run)
    assert_study_is_that_of_the_table(run)

    assert f"{TRIALS} tried already" in output, "a finished search is extended without running anything again"
    assert journal.read_bytes().startswith(before)
    added = journal.read_bytes()[len(before) :].splitlines()
    assert {json.loads(line)["trial"] for line in added} == {TRIALS, TRIALS + 1}
    table = table_of(run)
    assert len(table) == TRIALS + 2 and "RUNNING" not in set(table["status"])
    assert old.equals(table.loc[: TRIALS - 1, old.columns].astype(old.dtypes))


SPACE = """
from trainable.recipe import Recipe, Stage

def mine(trial, max_epochs):
    return Recipe((Stage("heads", ("box_head",), max_epochs, trial.suggest_float("rate", {low}, 1e-3)),))
"""


@pytest.fixture
def changed(tmp_path: Path, data_folder: Path, checkpoint: Path) -> dict[str, Path]:
    """Copies of what a search is given, to be changed: `data`, `model` and the file of the `space`."""
    space = tmp_path / "mine.py"
    space.write_text(SPACE.format(low="1e-5"))
    copies = {"data": data_folder, "model": checkpoint}
    return {name: Path(shutil.copytree(path, tmp_path / name)) for name, path in copies.items()} | {"space": space}


@pytest.fixture
def resumed(changed: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Resumes a search of two trials, without Ray, up to where trials would start."""

    def stop(*arguments: Any) -> None:
        raise search.cluster.cluster.ClusterError(READY)

    def call(*arguments: Any) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})

    monkeypatch.setattr(
        search.cluster.cluster, "connect", lambda options, say: search.cluster.cluster.Resources(1, 0, 1)
    )
    monkeypatch.setattr(search.cluster.preflight, "preflight", stop)
    space = f"{changed['space']}:mine"
    given = ("--data", changed["data"], "--model", changed["model"], "--space", space, "--max-epochs", 6)
    assert READY in call(*given, "--storage", tmp_path, "--name", "run").output
    with contextlib.closing(Journal(tmp_path / "run" / "journal.jsonl")) as journal:
        budget = Budget(max_epochs=6, grace=2, images=8, seed=0)
        study = SearchStudy(load_space(space), budget, journal, Promotion(grace=2, max_epochs=6, reduction=4))
        for number in range(2):
            study.ask()
            study.end(number, "FAILED", "made up")
    return lambda *arguments: call("--resume", tmp_path / "run", *arguments)


def test_what_has_changed_is_refused_with_the_difference_unless_forced(resumed, changed, monkeypatch):
    assert READY in resumed().output
    (changed["data"] / "labels" / "t1.txt").write_text("0 0.5 0.5 0.1 0.1")
    (changed["model"] / "config.json").write_text((changed["model"] / "config.json").read_text() + " ")
    changed["space"].write_text(SPACE.format(low="1e-4"))
    monkeypatch.setattr(search.run_folder.identity, "RESULTS_VERSION", 99)
    refused = resumed()
    assert refused.exit_code == 2
    assert "cannot be resumed, since what it was started with has changed:" in refused.output
    lines = {line.split(":")[0].strip(): line for line in refused.output.splitlines() if ": was " in line}
    assert sorted(lines) == ["data", "model", "results", "space"]
    assert lines["results"].endswith("is version 99")
    assert READY not in refused.output and "--force goes on all the same" in refused.output
    assert READY in resumed("--force").output
    assert READY in resumed().output, "a forced run is resumed without force from then on"
