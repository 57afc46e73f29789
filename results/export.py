"""Writes the table of any run, finished, running or broken: `python results/export.py RUN --format csv,html`."""

import sys
from pathlib import Path
from typing import Annotated

if __name__ == "__main__":  # The checkout that this file lies in runs, whichever one the environment has installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import pandas as pd
import typer

from results.journal.events import JournalError
from results.journal.journal import read_journal, trial_records
from results.table import FORMATS, ranked, trial_table, write_table
from trainable.text.command_line import Command, stop

app = Command()


class ExportError(ValueError):
    """The table cannot be written as asked; the message says what is allowed."""


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    format: Annotated[
        str, typer.Option(help=f"One or more of {', '.join(FORMATS)}, with commas between.")
    ] = "csv,parquet,json,md",
    sort: Annotated[
        str | None,
        typer.Option(
            help="A column to sort by, smallest first; with a minus before it, largest first. Failed trials come "
            "last. Without it, the order of trials.",
            metavar="COLUMN",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder to write to, by default the run's own.")] = None,
) -> None:
    """Write results.FORMAT of a run: one row a trial. The run may be finished, still running, or broken off."""
    try:
        for path in export(run, format.split(","), sort, out or run):
            typer.echo(path)
    except (ExportError, JournalError, OSError) as error:
        stop(error)


def export(run: Path, formats: list[str], sort: str | None, out: Path) -> list[Path]:
    """Writes the table of `run` into `out`, made if it does not exist.

    Args:
        run: the run folder.
        formats: some of `FORMATS`.
        sort: a column, with a minus before it for largest first; None is the order of trials.
        out: the folder to write to.

    Returns:
        The paths written.

    Raises:
        ExportError: there is no such run, format or column.
        JournalError: the run's journal is missing or damaged.
        OSError: `out` cannot be written.
    """
    formats = [name.strip() for name in formats]
    if unknown := [name for name in formats if name not in FORMATS]:
        raise ExportError(f"--format: one or more of {', '.join(FORMATS)}, got {unknown[0]!r}")
    if not run.is_dir():
        raise ExportError(f"{run}: there is no such folder; give the run folder that a search has written")
    table = _sorted(trial_table(trial_records(read_journal(run / "journal.jsonl"))), sort)
    out.mkdir(parents=True, exist_ok=True)
    return [write_table(table, out / f"results.{name}") for name in formats]


def _sorted(table: pd.DataFrame, sort: str | None) -> pd.DataFrame:
    if sort is None:
        return table
    column = sort.removeprefix("-")
    if column not in table.columns:
        raise ExportError(f"--sort: one of {', '.join(table.columns)}, got {column!r}")
    return ranked(table, column, descending=sort.startswith("-"))


if __name__ == "__main__":
    app()
