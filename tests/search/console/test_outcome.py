"""The last words of a search: what was saved, where anything was."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from results.journal.journal import TrialRecord
from results.model.best import Best
from results.retrained import Chosen
from search.console.outcome import print_outcome
from search.options import Options
from tests.made_up import made_up_row
from trainable.recipe import reference
from trainable.text.console import plain_console

POINT = {
    "score_threshold": 0.5,
    "precision": 0.5,
    "recall": 0.5,
    "f1": 0.5,
    "constraint_kept": None,
    "interval": {"f1": (0.4, 0.6)},
}


def trial(number: int) -> TrialRecord:
    """Three epochs of 17 seconds each."""
    rows = [made_up_row(epoch, 4.0 - epoch, stage=epoch - 1, seconds=17.0 * epoch) for epoch in (1, 2, 3)]
    return TrialRecord(number, {}, reference(3), number == 0, 0.0, "COMPLETED", rows, [1.0, 2.0, 3.0])


def printed(
    records: list[TrialRecord],
    run: Path,
    left: int = 0,
    on_test: dict[str, Any] | None = None,
    width: int = 200,
    **more: Any,
) -> str:
    written = Best({"val_loss": 1.0, "mAP": 0.5, "mAP50": 0.5, "boxes": 4, "recommended": POINT, **more}, agrees=True)
    asked = {"space": "staged", "data": None, "model": "embedded", "trials": 2, "max_epochs": 3, "grace": 2}
    options = Options(storage=str(run.parent), name=run.name, **asked)
    console = plain_console(record=True, width=width)
    with console.capture() as capture:
        choice = Chosen(records[0], "trials/0000", "The best recipe")
        print_outcome(options, records, [], choice, written, on_test, None, left, console)
    return capture.get()


def test_where_nothing_was_measured_no_threshold_is_printed_and_no_precision(tmp_path):
    why = "there is no labelled box to measure it by"
    undefined = {"mAP": None, "mAP50": None, "recommended": None, "not_recommended": why, "pairs": 3}
    text = printed([trial(0)], tmp_path, boxes=0, on_test=undefined, **undefined)
    assert f"best model mAP –, mAP50 –; no score threshold can be recommended: {why}\n" in text
    assert f"on the test set mAP –, mAP50 –; {why}, 3 pairs\n" in text
    assert "run it at" not in text and "0.500" not in text
    assert "0.500" in printed([trial(0)], tmp_path)


@pytest.mark.parametrize("name", ["[red]x", "[/red]x"])
def test_a_run_folder_with_square_brackets_is_printed_as_it_is(tmp_path, name):
    run = tmp_path / name
    run.mkdir(parents=True)
    (run / "results.csv").write_text("")
    assert f"table       {run}/results.csv\n" in printed([trial(0)], run, left=1)
    assert f"go on with: python search/run.py --resume '{run}'\n" in printed([trial(0)], run, left=1)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_narrow_terminal_loses_no_figure(tmp_path, width):
    records = [trial(number) for number in range(7)]
    whole = printed(records, tmp_path, left=1)
    narrow = printed(records, tmp_path, left=1, width=width)
    assert "…" not in narrow
    # Headers, `f1` among them, may stand there more often.
    assert not Counter(re.findall(r"\d[\d.]*", whole)) - Counter(re.findall(r"\d[\d.]*", narrow))
