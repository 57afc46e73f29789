"""What a run folder holds, read for the report; whatever is missing or damaged is left out and told."""

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from pydantic import TypeAdapter

from results.journal.journal import TrialRecord, read_journal, trial_records
from results.retrained import FOLDER, Confirmed, confirmed, winner
from results.schema import ASKED, ENVIRONMENT, METRICS, NOTICES, SELECTION
from results.selection import FILE as SELECTION_FILE
from results.selection import Selection
from trainable.data.notices import NOTICES as NOTICES_FILE
from trainable.text.shown import printable
from trainable.text.validation import faults_of
from trainable.text.yaml_file import read_yaml

Content = TypeVar("Content")

_HEADER = (r"^# .*: trial (\d+), ", r"^#   (\S.* --recipe .*)$")
"""The trial and the command in the header that `results.model.best` writes into `best/recipe.yaml`."""


class RunError(ValueError):
    """There is no run to report on; the message says why."""


@dataclass(frozen=True)
class RunContents:
    """A run as its folder tells it."""

    path: Path
    records: Sequence[TrialRecord]
    """Its trials, in the order of their numbers; of unfinished searches too."""
    asked: dict[str, Any]
    """`search.yaml`."""
    environment: dict[str, Any]
    """`environment.json`."""
    metrics: dict[str, Any]
    """`best/metrics.json`."""
    on_test: dict[str, Any]
    """`best/test/metrics.json`: the same of a test set, where the search was given one."""
    sweep: pd.DataFrame | None
    """`best/sweep.csv`."""
    evaluated: int | None
    """The trial whose model `metrics` and `sweep` are of, by the header of `best/recipe.yaml`."""
    train_command: str | None
    """What trains its recipe again, from the same header."""
    overlays: Sequence[Path]
    augmented: Sequence[Path]
    """Training pairs as augmentation changes them."""
    registrations: Sequence[Path]
    """Pairs whose camera moved, as they are and registered."""
    faults: Sequence[dict[str, str]]
    """`data_report.csv`: the rows of what was left out of the data set."""
    notices: Sequence[dict[str, Any]]
    """`notices.json`: what is allowed in the data or the model, but would surprise; older runs have none."""
    retrained: Sequence[TrialRecord]
    """What was trained again when the search was over."""
    selection: Selection | None
    """What picking the best trial has added to its loss; older runs, and those with a test set, have none."""
    notes: Sequence[str]
    """What could not be read, a sentence each."""

    @cached_property
    def best(self) -> TrialRecord | None:
        """The trial with the best recipe so far."""
        return winner(self.records, self.retrained)

    @cached_property
    def confirmed(self) -> Sequence[Confirmed]:
        """The recipes that were trained with other seeds, the best first."""
        return confirmed(self.records, self.retrained)

    @property
    def reference(self) -> TrialRecord | None:
        """The trial of the reference recipe."""
        return next((record for record in self.records if record.reference), None)

    @property
    def evaluation_is_of_best(self) -> bool:
        """False where a resumed search has found a better trial than the one that `best/` holds."""
        return self.best is None or self.evaluated in (None, self.best.number)


def read_run(run: Path, records: Sequence[TrialRecord] | None = None) -> RunContents:
    """Reads a run folder: finished, running or broken.

    Args:
        run: the folder.
        records: its trials, where the caller has them; otherwise the journal is read.

    Raises:
        RunError: the folder has neither a journal nor `search.yaml`.
        JournalError: the journal is damaged.
    """
    if not any((run / name).is_file() for name in ("journal.jsonl", "search.yaml")):
        raise RunError(f"{run}: has no journal.jsonl and no search.yaml; give the run folder that a search has written")
    if records is None:
        journal = run / "journal.jsonl"
        records = trial_records(read_journal(journal)) if journal.is_file() else []
    files = _Files(run)
    header = files.read("best/recipe.yaml", lambda path: path.read_text(encoding="utf-8"), "")
    trial, command = (re.search(rule, header, re.MULTILINE) for rule in _HEADER)
    return RunContents(
        path=run,
        records=records,
        asked=files.read("search.yaml", lambda path: _of_schema(read_yaml(path), ASKED), {}),
        environment=files.read("environment.json", lambda path: _of_schema(_json(path), ENVIRONMENT), {}),
        metrics=_measured(files.read("best/metrics.json", lambda path: _of_schema(_json(path), METRICS), {})),
        on_test=_measured(
            files.read("best/test/metrics.json", lambda path: _of_schema(_json(path), METRICS), {}), given=True
        ),
        sweep=files.read("best/sweep.csv", _sweep, None),
        evaluated=int(trial[1]) if trial else None,
        train_command=command[1] if command else None,
        overlays=sorted((run / "best" / "overlays").glob("*.png")),
        augmented=sorted((run / "best" / "augmented").glob("*.png")),
        registrations=sorted((run / "best" / "registration").glob("*.png")),
        faults=files.read("data_report.csv", _faults, []),
        notices=files.read(NOTICES_FILE, lambda path: _checked(_json(path), NOTICES), []),
        retrained=files.read(f"{FOLDER}/journal.jsonl", lambda path: trial_records(read_journal(path)), []),
        selection=files.read(SELECTION_FILE, lambda path: Selection(**_of_schema(_json(path), SELECTION)), None),
        notes=files.notes,
    )


class _Files:
    """Reads files of a run, and takes note of those that are damaged."""

    def __init__(self, run: Path):
        self.run = run
        self.notes: list[str] = []

    def read(self, name: str, reader: Callable[[Path], Content], missing: Content) -> Content:
        path = self.run / name
        if not path.is_file():
            return missing
        try:
            return reader(path)
        except (OSError, ValueError, KeyError, RecursionError, csv.Error) as error:
            self.notes.append(f"{name} cannot be read and is left out: {printable(str(error))}")
            return missing


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _checked(content: Any, schema: TypeAdapter[Any]) -> Any:
    if faults := faults_of(schema, content):
        raise ValueError(faults[0])
    return content


def _of_schema(content: Any, schema: TypeAdapter[Any]) -> dict[str, Any]:
    """The fields that are not null."""
    return {name: value for name, value in _checked(content, schema).items() if value is not None}


def _measured(metrics: dict[str, Any], given: bool = False) -> dict[str, Any]:
    """Metrics without the operating point that older versions wrote where there was nothing to choose one by.

    Args:
        metrics: contents of a `metrics.json`.
        given: whether its score threshold was not chosen on these pairs.
    """
    point = metrics.get("recommended")
    if not point or (metrics.get("boxes") != 0 and (given or point["f1"])):
        return metrics
    return {**metrics, "recommended": None, "counted_at": point["score_threshold"]}


def _sweep(path: Path) -> pd.DataFrame:
    table = pd.read_csv(path, dtype={"class": str}, keep_default_na=False)
    shares = ["iou_threshold", "score_threshold", "precision", "recall", "f1"]
    table = table.astype(dict.fromkeys(shares, float) | dict.fromkeys(("tp", "fp", "fn"), int))
    if not table[shares].apply(lambda column: column.between(0, 1)).all(axis=None):
        raise ValueError("thresholds, precision, recall and f1 are shares from 0 to 1")
    if table.duplicated(["iou_threshold", "score_threshold", "class"]).any():
        raise ValueError("it has two rows for one class at one pair of thresholds")
    return table


def _faults(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"kind", "file", "line", "value", "advice"} - set(reader.fieldnames or ()):
            raise ValueError(f"it has no column {min(missing)}")
        return list(reader)
