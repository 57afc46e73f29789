"""What searches draw and what trials report is as it was recorded, as long as the results version is the same one."""

import json
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from search.run_folder.identity import RESULTS_VERSION
from search.rungs import PRUNINGS
from spaces.registry import spaces
from trainable.data.pairs import PairData
from trainable.history import EpochRow
from trainable.recipe import PARTS, Recipe, Stage, flatten
from trainable.training.staged_trainer import train_recipe

FILE = Path(__file__).with_name("recorded_results.json")
RECORDED = json.loads(FILE.read_text())

TRIALS = 9
"""Trials of each space: six at random, the reference among them, and some that TPE draws from what those gave."""
RECIPE = Recipe(
    (
        Stage("heads", PARTS[3:], epochs=2, learning_rate=3e-3),
        Stage("without backbone", PARTS[1:], epochs=2, learning_rate=1e-3),
        Stage("all", PARTS, epochs=8, learning_rate=1e-3, restart_cycles=2),
    ),
    accumulation_steps=2,
    backbone_learning_rate_factor=0.5,
    warmup_share=0.1,
    evaluations_per_epoch=2,
    patience=3,
    seed=5,
)
FIGURES = (
    *("epoch", "stage", "train_loss", "val_loss", "val_loss_ce", "val_loss_bbox", "val_loss_giou", "learning_rate"),
    *("precision", "recall", "f1", "final"),
)
ROUNDING = 1e-5
"""Share by which figures may differ: another processor adds up in another order, which moves them by under 1e-6."""


def loss(recipe: dict[str, Any], epoch: int) -> float:
    """Made up; no two trials alike, and of a recipe nothing counts that a later version may add to."""
    return sum(stage["learning_rate"] for stage in recipe["stages"]) * 100 + 1 / epoch + len(recipe["stages"]) / 7


def drawn(search: Callable[..., Any], space: str, pruning: str, folder: Path) -> list[dict[str, Any]]:
    records = search(space, losses=loss, folder=folder, pruning=pruning).run(TRIALS).study.records.values()
    return [
        {"status": record.status, "epochs": len(record.history), **record.parameters, "recipe": flatten(record.recipe)}
        for record in records
    ]


def assert_as_recorded(now: list[dict[str, Any]], name: str, folder: Path) -> None:
    """Fails where something that was recorded is another now; what is there beside it does not count."""
    recorded, now = RECORDED["results"].get(name), json.loads(json.dumps(now))
    if differences := list(_differences(recorded, now, name)):
        anew = folder / FILE.name
        anew.write_text(_text(RESULTS_VERSION + 1, RECORDED["results"] | {name: now}))
        pytest.fail(
            "\n".join(differences[:10])
            + "\n\nThe same search gives something else than before. If that is meant, raise "
            f"RESULTS_VERSION in search/run_folder/identity.py to {RESULTS_VERSION + 1}, so that runs of before are "
            f"not mixed with it, and take '{name}' over from {anew} into {FILE}. (A new space is only taken over.)"
        )


def _differences(recorded: Any, now: Any, where: str) -> Any:
    if isinstance(recorded, dict) and isinstance(now, dict):
        for name, value in recorded.items():
            yield from _differences(value, now.get(name), f"{where}.{name}")
    elif isinstance(recorded, list) and isinstance(now, list) and len(recorded) == len(now):
        for index, value in enumerate(recorded):
            yield from _differences(value, now[index], f"{where}.{index}")
    elif isinstance(recorded, float) and isinstance(now, float):
        if recorded != pytest.approx(now, rel=ROUNDING):
            yield f"{where}: was {reprlib.repr(recorded)}, is {reprlib.repr(now)}"
    elif recorded != now:
        yield f"{where}: was {reprlib.repr(recorded)}, is {reprlib.repr(now)}"


def _text(version: int, results: dict[str, list[dict[str, Any]]]) -> str:
    """As JSON, a trial or an evaluation a line, so that a change of it is read at once."""
    lists = (
        f"{json.dumps(name)}: [\n" + ",\n".join(map(json.dumps, rows)) + "\n]" for name, rows in sorted(results.items())
    )
    return f'{{"results_version": {version}, "results": {{\n' + ",\n".join(lists) + "\n}}\n"


def test_what_is_recorded_is_of_this_results_version():
    assert RECORDED["results_version"] == RESULTS_VERSION, f"take the results of this version over into {FILE}"


@pytest.mark.parametrize("pruning", PRUNINGS)
@pytest.mark.parametrize("space", spaces())
def test_a_space_draws_what_it_drew(search, space, pruning, tmp_path):
    """Where trials stop, by one generator, as all runs did before there was promotion."""
    name = space if pruning == "stopping" else f"{space}, {pruning}"
    assert_as_recorded(drawn(search, space, pruning, tmp_path), name, tmp_path)


def test_a_trial_reports_what_it_reported(make_checkpoint, pair_data: PairData, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    rows: list[EpochRow] = []
    train_recipe(RECIPE, pair_data, make_checkpoint(names=("thing",), dropout=0.2), tmp_path / "trial", rows.append)
    every = [evaluation for row in rows for evaluation in (*row.within_epoch, row)]
    assert_as_recorded([{name: row.to_dict().get(name) for name in FIGURES} for row in every], "trial", tmp_path)
