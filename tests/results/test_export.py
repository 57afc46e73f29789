"""The export command: any run's table in any format, or one line that says what is allowed."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

import results.export
from results.table import tables_agree, trial_table


@pytest.fixture
def run(tmp_path: Path, events: list[dict[str, Any]]) -> Path:
    """The folder of a run that was killed while it wrote an event."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "journal.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events) + '{"event": "rep')
    return folder


def export(*arguments: object) -> Result:
    return CliRunner().invoke(results.export.app, [str(argument) for argument in arguments])


def trial_ids(path: Path) -> list[str]:
    return pd.read_csv(path, dtype=str)["trial_id"].tolist()


def test_a_broken_run_is_exported_from_its_journal_alone(run, records):
    result = export(run)
    paths = [run / f"results.{suffix}" for suffix in ("csv", "parquet", "json", "md")]
    assert (result.exit_code, result.stdout.split()) == (0, [str(path) for path in paths])
    assert tables_agree(pd.read_parquet(paths[1]), trial_table(records)) == []


def test_formats_and_folder_can_be_chosen(run, tmp_path):
    out = tmp_path / "new" / "folder"
    assert export(run, "--format", "html, csv", "--out", out).exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["results.csv", "results.html"]
    assert [path.name for path in run.iterdir()] == ["journal.jsonl"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ([], ["0000", "0001", "0002", "0003", "0004"]),
        (["--sort", "val_loss"], ["0000", "0003", "0001", "0002", "0004"]),
        (["--sort", "-epochs"], ["0000", "0001", "0003", "0002", "0004"]),
    ],
)
def test_rows_are_sorted_as_asked_with_failed_trials_last(run, sort, order):
    assert export(run, "--format", "csv", *sort).exit_code == 0
    assert trial_ids(run / "results.csv") == order


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "csv,xls"], "--format: one or more of csv, parquet, json, md, html, got 'xls'"),
        (["--sort", "loss"], "--sort: one of trial_id, status, reference, val_loss,"),
        (["--out", "taken/below"], "taken"),
    ],
)
def test_a_wrong_flag_exits_2_with_one_line_and_writes_nothing(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("taken").write_text("a file")
    result = export(run, *arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert message in result.stderr
    assert [path.name for path in run.iterdir()] == ["journal.jsonl"]


def test_what_is_no_run_exits_2_with_one_line(tmp_path):
    for folder, message in [(tmp_path / "nowhere", "there is no such folder"), (tmp_path, "this is no run folder")]:
        result = export(folder)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert str(folder) in result.stderr and message in result.stderr


def test_a_damaged_journal_names_its_line(run):
    (run / "journal.jsonl").write_text("{}}\n{}\n")
    result = export(run)
    assert result.exit_code == 2 and "journal.jsonl, line 1: is not JSON" in result.stderr


def test_the_script_runs_from_any_folder(run, tmp_path):
    script = Path(results.export.__file__)
    done = subprocess.run(
        [sys.executable, script, run, "--format", "csv"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{run / 'results.csv'}\n", "")
