"""The tables of a run: one row a trial, and one row an evaluation.

Both are derived from the journal alone and can be made of any run, finished, running or broken.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from results.journal.journal import TrialRecord
from results.markdown import markdown_table
from trainable.metric import METRICS, VAL_LOSS
from trainable.recipe import flatten
from trainable.storage.durable_file import write_atomically

IGNORED = (
    *("trial_id", "seconds", "started", "ended", "worker", "node", "pid", "retries", "error"),
    *("reused_epochs", "shared_from"),  # Of earlier versions, in which a trial could take over another one's epochs.
)
"""Columns in which two tables may differ and still be the same: when, where and at what cost a trial ran."""

READING_COLUMNS = (
    *("trial_id", "status", "reference", "map", "max_f1", "val_loss", "best_epoch", "epochs", "stage"),
    *("precision", "recall", "f1", "seconds", "error"),
)
"""Columns of the Markdown table, which is for reading; the other formats have all."""


def trial_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row a trial, in the order of `records`.

    Columns:
        trial_id: the trial's number in four digits, the name of its folder under `trials/`.
        status: COMPLETED, PRUNED, FAILED, RUNNING, or PAUSED at a rung.
        reference: whether this is the reference recipe.
        val_loss, best_epoch: of the best of all epochs, and when it was; precision, recall and f1 are of that epoch.
        map or max_f1: of that epoch too, where the search compares its trials by it.
        last_val_loss, epochs, stage, node, pid: of the last epoch; stages count from 0 as in the columns.
        seconds: that the trial trained.
        error: why the trial failed.
        started, ended: ISO 8601, UTC.
        Then the recipe's fields as from `flatten`, the stages first.

    What a trial has not (yet) got is missing in its row.
    """
    rows = [_trial_row(record) for record in records]
    recipes = [flatten(record.recipe) if record.recipe else {} for record in records]
    # Sorted, since a trial with more stages than the first one would bring its columns after those of the whole recipe.
    fields = sorted(_keys(recipes), key=lambda name: int(name.split(".")[1]) if name.startswith("stages.") else 10**9)
    names = _keys([*rows, _trial_row(TrialRecord(0, {}, None, False, 0.0))])
    columns = [*names, *fields]
    return _frame([row | recipe for row, recipe in zip(rows, recipes, strict=True)], columns)


def history_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """One row an evaluation: all that was reported, with the time.

    Evaluations within an epoch have a fractional `epoch` and stand before the row of the epoch's end; `reported`
    (ISO 8601, UTC), `node` and `pid` are those of the epoch that they came with.
    """
    rows = [row for record in records for row in _evaluations(record)]
    columns = [*dict.fromkeys(["trial_id", "epoch", "stage", *(name for name in _keys(rows) if name != "reported")])]
    table = _frame(rows, [*columns, "reported"])
    return table.astype({"epoch": "float64"})  # also where no recipe evaluates within its epochs


def ranked(table: pd.DataFrame, by: str = "val_loss", descending: bool = False) -> pd.DataFrame:
    """The table of trials sorted by a column, best `val_loss` first by default; trials that failed come last.

    Equals stay in the order of trials, and what is missing comes after all values.
    """
    failed = table["status"] == "FAILED"
    order = table[~failed].sort_values(by, ascending=not descending, kind="stable").index
    return table.loc[[*order, *table.index[failed]]]


def tables_agree(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    """The differences of two tables of trials, row by row in all columns but `IGNORED`; empty where they are the same.

    Numbers are compared exactly, and what is missing equals what is missing.
    """
    if len(a) != len(b):
        return [f"trials: {len(a)} and {len(b)}"]
    compared_a, compared_b = (table.drop(columns=list(IGNORED), errors="ignore") for table in (a, b))
    differences = [
        f"{name}: only in one of the tables" for name in compared_a.columns.symmetric_difference(compared_b.columns)
    ]
    for name in compared_a.columns.intersection(compared_b.columns, sort=False):
        pairs = zip(a["trial_id"], _plain(a[name]), _plain(b[name]), strict=True)
        differences += [f"{name} of trial {trial}: {x!r} and {y!r}" for trial, x, y in pairs if x != y]
    return differences


def write_tables(run: Path, records: Sequence[TrialRecord]) -> list[Path]:
    """Writes `results.csv`, `.parquet`, `.json` and `.md`, and `history.parquet`, each replaced in one step.

    Returns:
        The paths written.
    """
    table = trial_table(records)
    paths = [write_table(table, run / f"results.{suffix}") for suffix in ("csv", "parquet", "json", "md")]
    return [*paths, write_table(history_table(records), run / "history.parquet")]


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """Writes a table in the format of the path's suffix, one of `FORMATS`; a reader sees the old file or the new."""
    write_atomically(path, FORMATS[path.suffix.removeprefix(".")](table))
    return path


def _trial_row(record: TrialRecord) -> dict[str, Any]:
    best, last = record.best, record.history[-1] if record.history else None
    return {
        "trial_id": _trial_id(record),
        "status": record.status,
        "reference": record.reference,
        "val_loss": best and best.val_loss,
        "best_epoch": best and best.epoch,
        "last_val_loss": last and last.val_loss,
        "epochs": last.epoch if last else 0,
        "stage": last and last.stage,
        "precision": best and best.precision,
        "recall": best and best.recall,
        "f1": best and best.f1,
        **({} if record.metric == METRICS[VAL_LOSS] else {record.metric.field: best and best.compared}),
        "seconds": last and last.seconds,
        "error": record.error,
        "started": _utc(record.asked),
        "ended": None if record.ended is None else _utc(record.ended),
        "node": last and last.node,
        "pid": last and last.pid,
    }


def _evaluations(record: TrialRecord) -> Iterable[dict[str, Any]]:
    for row, time in zip(record.history, record.reported, strict=True):
        at_end = row.to_dict()
        common = {"trial_id": _trial_id(record), "reported": _utc(time)}
        common |= {name: at_end[name] for name in ("node", "pid") if name in at_end}
        for within in at_end.pop("within_epoch"):
            yield within | {"final": False} | common
        yield at_end | common


def _trial_id(record: TrialRecord) -> str:
    return f"{record.number:04d}"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _keys(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """All names in `rows`, in the order in which they first appear."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in columns})


def _column(values: list[Any]) -> pd.Series:
    """Whole numbers and truth values stay what they are beside missing ones; pandas alone would make them floats."""
    present = [value for value in values if value is not None]
    kinds = {"boolean": (bool,), "Int64": (int,), "float64": (int, float)}
    dtypes = [dtype for dtype, kind in kinds.items() if present and all(isinstance(value, kind) for value in present)]
    return pd.Series(values, dtype=dtypes[0] if dtypes else "object")


def _plain(values: pd.Series) -> list[Any]:
    """Python's own values, None for what is missing."""
    return values.astype(object).where(values.notna(), None).tolist()


def _csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def _parquet(table: pd.DataFrame) -> bytes:
    return table.to_parquet(index=False)


def _json(table: pd.DataFrame) -> bytes:
    """A list of objects. (pandas' own writer keeps 15 decimals at most, which is not every float64.)"""
    columns = [_plain(table[name]) for name in table.columns]
    rows = [dict(zip(table.columns, row, strict=True)) for row in zip(*columns, strict=True)]
    return (json.dumps(rows, indent=2, ensure_ascii=False) + "\n").encode()


def _md(table: pd.DataFrame) -> bytes:
    names = [name for name in READING_COLUMNS if name in table.columns]
    note = "Numbers are rounded for reading; `results.csv` has them in full, with every field of the recipes."
    return f"{markdown_table(names, _cells(table[names]).to_numpy().tolist())}\n{note}\n".encode()


def _html(table: pd.DataFrame) -> bytes:
    with pd.option_context("display.max_colwidth", None):
        return _PAGE.format(table=_cells(table).to_html(index=False, border=0)).encode()


def _cells(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({name: [_cell(value) for value in _plain(table[name])] for name in table.columns})


def _cell(value: Any) -> str:
    """A value for reading: four significant digits, the first line of a text."""
    if value is None or value is False:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "yes" if value is True else str(value).partition("\n")[0]


FORMATS: dict[str, Callable[[pd.DataFrame], bytes]] = {
    "csv": _csv,
    "parquet": _parquet,
    "json": _json,
    "md": _md,
    "html": _html,
}
"""Functions from a table to the bytes of its file. csv, parquet and json hold every column at full precision; md and
html, for reading, round to four significant digits."""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Trials</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .3rem .7rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #8885; }}
th {{ position: sticky; top: 0; background: Canvas; }}
tbody tr:hover {{ background: #8882; }}
</style>
</head>
<body>
{table}
</body>
</html>
"""
