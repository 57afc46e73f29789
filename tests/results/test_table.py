"""The tables: what each column says, every format at full precision, and when two tables are the same."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from results.journal.journal import TrialRecord
from results.table import IGNORED, history_table, ranked, tables_agree, trial_table, write_table, write_tables
from trainable.recipe import flatten

FIXED = [
    *("trial_id", "status", "reference", "val_loss", "best_epoch", "last_val_loss", "epochs", "stage", "precision"),
    *("recall", "f1", "seconds", "error", "started", "ended", "node", "pid"),
]


def read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"trial_id": str}, float_precision="round_trip")


def change(records: list[TrialRecord], row: int, **fields: Any) -> None:
    """Has the first trial have reported something else in this row."""
    history = list(records[0].history)
    history[row] = dataclasses.replace(history[row], **fields)
    records[0] = dataclasses.replace(records[0], history=history)


def test_a_row_says_what_became_of_its_trial(records):
    row = trial_table(records).iloc[0]
    assert row[FIXED].to_dict() == {
        "trial_id": "0000",
        "status": "COMPLETED",
        "reference": True,
        "val_loss": 0.1 + 0.2,
        "best_epoch": 2,
        "last_val_loss": 1.0,
        "epochs": 3,
        "stage": 2,
        "precision": 0.2,
        "recall": 0.4,
        "f1": 0.3,
        "seconds": 30.0,
        "error": None,
        "started": "2026-01-01T12:00:00.000+00:00",
        "ended": "2026-01-01T12:00:30.500+00:00",
        "node": "worker-1",
        "pid": 4242,
    }


def test_every_recipe_field_is_a_column_after_the_others(records):
    table = trial_table(records)
    assert list(table.columns) == [*FIXED, *flatten(records[0].recipe)]
    assert table["stages.0.trainable"].tolist()[:2] == ["box_head+class_head"] * 2
    assert table["stages.0.learning_rate"][1] == 0.1 + 0.2
    assert table["stages.1.epochs"].isna().tolist() == [False, True, True, True, True]


def test_stages_that_only_a_later_trial_has_stand_beside_the_others(records):
    names = list(trial_table([records[1], records[0]]).columns)
    assert names == list(trial_table(records).columns)


def test_the_history_shows_what_an_earlier_version_recorded_of_an_epoch(records):
    change(records, 0, others={"shared_from": None})
    change(records, 1, others={"shared_from": "0003"})
    history = history_table(records)
    assert history.loc[history["shared_from"].notna(), ["trial_id", "epoch"]].to_numpy().tolist() == [["0000", 2]]


def test_a_trial_without_recipe_or_epochs_is_still_a_row(records):
    row = trial_table(records).iloc[2]
    assert (row["status"], row["epochs"]) == ("FAILED", 0)
    assert row["error"].startswith("space mine raised")
    assert row[["val_loss", "best_epoch", "f1", "node", "batch_size"]].isna().all()


def test_whole_numbers_stay_whole_beside_missing_ones(records):
    table = trial_table(records)
    assert {str(table[name].dtype) for name in ("best_epoch", "stages.2.epochs", "pid", "patience")} == {"Int64"}


def test_numbers_of_numpy_are_numbers(records):
    change(records, 1, val_loss=np.float64(0.25))
    assert trial_table(records)["val_loss"].dtype == "float64"


def test_the_history_has_every_evaluation_with_those_within_an_epoch_before_its_end(records):
    history = history_table(records)
    assert history["epoch"].tolist() == [1, 1.5, 2, 3, 1, 2, 1, 1]
    assert history["trial_id"].tolist() == ["0000"] * 4 + ["0001"] * 2 + ["0003", "0004"]
    assert history["val_loss"].tolist()[:4] == [2.0, 0.1, 0.1 + 0.2, 1.0]
    assert history["final"].tolist()[:4] == [False, False, False, True]
    assert history["reported"].tolist()[1:4] == [f"2026-01-01T12:00:{second}.000+00:00" for second in (20, 20, 30)]
    assert history["pid"].tolist() == [4242] * 8
    assert "within_epoch" not in history


def test_the_history_shows_what_another_version_measured_beside_its_own(records):
    columns = list(history_table(records).columns)
    change(records, 1, others={"map": 0.25})
    history = history_table(records)
    assert list(history.columns) == [*columns[:-1], "map", "reported"]
    assert history["map"].isna().tolist()[:4] == [True, True, False, True] and history["map"][2] == 0.25


@pytest.mark.parametrize("suffix", ["csv", "parquet", "json"])
def test_data_formats_keep_every_column_and_every_bit(tmp_path, records, suffix):
    change(records, 1, val_loss=2 / 3 * 1e-17)
    table = trial_table(records)
    path = write_table(table, tmp_path / f"results.{suffix}")
    read = {"csv": read_csv, "parquet": pd.read_parquet, "json": lambda p: pd.DataFrame(json.loads(p.read_text()))}
    again = read[suffix](path)
    assert tables_agree(table, again) == []
    assert list(again.columns) == list(table.columns)
    assert again["seconds"].tolist()[0] == 30.0 and again["trial_id"].tolist() == table["trial_id"].tolist()


def test_json_says_null_for_what_is_missing_and_keeps_whole_numbers(tmp_path, records):
    text = write_table(trial_table(records), tmp_path / "results.json").read_text()
    rows = json.loads(text)
    assert rows[2]["val_loss"] is None and '"pid": 4242,' in text and "NaN" not in text


def test_markdown_rounds_for_reading_and_keeps_its_cells_apart(tmp_path, records):
    lines = write_table(trial_table(records), tmp_path / "results.md").read_text().splitlines()
    assert lines[2] == "| 0000 | COMPLETED | yes | 0.3 | 2 | 3 | 2 | 0.2 | 0.4 | 0.3 | 30 |  |"
    assert lines[4].endswith(r"| space mine raised ValueError: a \| b |")
    assert len(lines) == 2 + len(records) + 2


def test_html_shows_a_users_text_as_text(tmp_path, records):
    records[4].error = "<script>alert(1)</script> & more" + 100 * "!"
    page = write_table(trial_table(records), tmp_path / "results.html").read_text()
    assert "<td>&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" + 100 * "!" + "</td>" in page
    assert not any(unwanted in page for unwanted in ("<script", "None", "NA", "NaN"))
    assert "color-scheme: light dark" in page and "http" not in page


def test_a_run_gets_all_its_tables_and_no_leftovers(tmp_path, records):
    paths = write_tables(tmp_path, records)
    names = ["results.csv", "results.parquet", "results.json", "results.md", "history.parquet"]
    assert paths == [tmp_path / name for name in names]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert len(pd.read_parquet(tmp_path / "history.parquet")) == 8


def test_a_table_that_cannot_be_written_leaves_the_old_one(tmp_path, records):
    path = write_table(trial_table(records), tmp_path / "results.parquet")
    before = path.read_bytes()
    mixed = pd.DataFrame({"trial_id": [1, "one"]})
    with pytest.raises(Exception, match="trial_id"):
        write_table(mixed, path)
    assert path.read_bytes() == before


def test_a_search_without_trials_has_empty_tables(tmp_path):
    write_tables(tmp_path, [])
    assert list(read_csv(tmp_path / "results.csv").columns) == FIXED
    assert json.loads((tmp_path / "results.json").read_text()) == []
    assert pd.read_parquet(tmp_path / "history.parquet").empty
    assert ranked(trial_table([])).empty


def test_tables_agree_in_spite_of_times_and_places(records):
    table, other = trial_table(records), trial_table(records)
    for name in set(IGNORED) & set(other.columns):
        other[name] = "another"
    other["worker"] = "w1"
    assert tables_agree(table, other) == []


def test_tables_differ_in_the_last_bit_of_a_loss(records):
    table = trial_table(records)
    change(records, 1, val_loss=0.3)
    assert tables_agree(table, trial_table(records)) == [f"val_loss of trial 0000: {0.1 + 0.2!r} and 0.3"]


def test_a_value_and_a_missing_one_differ(records):
    table = trial_table(records)
    records[1].recipe = dataclasses.replace(records[1].recipe, patience=None)
    assert tables_agree(table, trial_table(records)) == ["patience of trial 0001: 2 and None"]


def test_tables_of_other_shape_differ(records):
    table = trial_table(records)
    assert tables_agree(table, trial_table(records[:3])) == ["trials: 5 and 3"]
    assert tables_agree(table, table.drop(columns=["f1", "pid"])) == ["f1: only in one of the tables"]


def test_the_best_trial_ranks_first_and_failed_ones_last(records):
    records.append(TrialRecord(5, {}, None, False, 0.0))  # has not reported yet
    assert ranked(trial_table(records))["trial_id"].tolist() == ["0000", "0003", "0001", "0005", "0002", "0004"]
    by_epochs = ranked(trial_table(records), "epochs", descending=True)
    assert by_epochs["trial_id"].tolist() == ["0000", "0001", "0003", "0005", "0002", "0004"]
