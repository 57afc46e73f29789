"""The charts' arithmetic: what is drawn is what happened."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from ray.tune.schedulers.async_hyperband import _Bracket
from transformers import get_cosine_with_hard_restarts_schedule_with_warmup

from results.journal.journal import TrialRecord
from results.page.charts.chart import DARK, metric_axis, plain, thinned
from results.page.charts.course import SearchClock, best_over_epochs, epochs_in_order, learning_curves
from results.page.charts.recipe import POINTS_PER_STAGE, learning_rates
from results.page.charts.rungs import epochs_spent, stopped_at_rungs
from results.page.charts.workers import worker_stretches
from results.page.importance import importances
from results.rungs import rung_epochs
from tests.made_up import made_up_row
from trainable.metric import METRICS
from trainable.recipe import Recipe, Stage

STAGE = Stage("heads", ("class_head",), epochs=4, learning_rate=1e-3)


def record(
    number: int, losses: list[float], start: float = 0.0, worker: int = 1, status: str = "COMPLETED", **more: Any
) -> TrialRecord:
    """A trial of four planned epochs, 10 seconds each."""
    history = [
        made_up_row(n, loss, seconds=10.0 * n, node="node", pid=worker) for n, loss in enumerate(losses, start=1)
    ]
    reported = [start + 10.0 * n for n in range(1, len(losses) + 1)]
    return TrialRecord(
        number, more.pop("parameters", {}), Recipe((STAGE,)), number == 0, start, status, history, reported, **more
    )


@pytest.mark.parametrize(("cycles", "warmup"), [(1, 0.0), (3, 0.0), (2, 0.1)])
def test_the_learning_rate_is_the_trainers(cycles, warmup):
    stage = dataclasses.replace(STAGE, restart_cycles=cycles)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=stage.learning_rate)
    schedule = get_cosine_with_hard_restarts_schedule_with_warmup(
        optimizer, int(warmup * POINTS_PER_STAGE), POINTS_PER_STAGE, cycles
    )
    expected = []
    for _ in range(POINTS_PER_STAGE):
        expected.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    epochs, rates = learning_rates(stage, warmup)
    assert (epochs[0], epochs[-1]) == (0, pytest.approx(4, abs=0.02))
    assert rates == pytest.approx(expected, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize(("grace", "most", "reduction"), [(2, 24, 3), (20, 120, 3), (1, 9, 3), (4, 4, 2), (2, 30, 2.5)])
def test_rungs_are_rays(grace, most, reduction):
    bracket = _Bracket(grace, most + 1, reduction, 0)
    levels = [math.ceil(level) for level, _ in reversed(bracket._rungs)]
    # Ray compares once more where trials end by themselves.
    assert list(rung_epochs(grace, most, reduction)) == [level for level in levels if level < most]


def test_a_trial_is_stopped_at_the_highest_rung_that_it_reached():
    asked = {"grace": 1, "max_epochs": 4, "reduction": 2}
    records = [record(0, [4, 3, 2, 1]), record(1, [5], status="PRUNED"), record(2, [4, 4], status="PRUNED")]
    chart = stopped_at_rungs(records, asked)
    assert chart.title == "ASHA stopped 1 of 3 at epoch 1, 1 of 2 at epoch 2"
    groups = {trace["name"]: trace for trace in json.loads(chart.figure)["data"]}
    assert groups["stopped here"]["customdata"] == [1, 2]
    assert groups["stopped here"]["y"] == [5, 4]
    assert [round(x) for x in groups["stopped here"]["x"]] == [0, 1]


def test_what_pruning_saved_is_what_the_pruned_recipes_had_left():
    records = [record(0, [4, 3, 2, 1]), record(1, [5], status="PRUNED"), record(2, [9, 9], status="FAILED")]
    spent = epochs_spent(records)
    assert (spent.kept, spent.pruned, spent.saved, spent.budget) == (6, 1, 3, 10)


def test_the_best_so_far_never_rises_and_leaves_failed_trials_out():
    records = [record(0, [4, 3, 5, 2]), record(1, [0.1], 5, status="FAILED"), record(2, [1, 2], 20)]
    line = json.loads(best_over_epochs(epochs_in_order(records)).figure)["data"][-1]
    assert (line["x"], line["y"]) == ([1, 2, 4, 6], [4, 3, 1, 1])


def test_the_pause_before_a_resumption_is_no_time_of_the_search():
    epochs = epochs_in_order([record(0, [2, 1]), record(1, [2, 1], start=100_000)])
    clock = SearchClock(epochs)
    assert [clock(epoch.time) for epoch in epochs] == [10, 20, 30, 40]


def test_a_trial_that_moved_to_another_worker_has_two_stretches():
    moved = record(0, [4, 3, 2, 1])
    moved.history[2:] = [dataclasses.replace(row, pid=2) for row in moved.history[2:]]
    stretches = worker_stretches(epochs_in_order([moved, record(1, [1], worker=2)]))
    assert [(s.record.number, s.worker, s.start, s.end, s.epochs) for s in stretches] == [
        *((0, "node · 1", 0, 20, 2), (1, "node · 2", 0, 10, 1), (0, "node · 2", 20, 40, 2)),
    ]  # fmt: skip


def test_learning_curves_change_colour_with_the_stage_and_pruned_ones_are_faint():
    two_stages = record(0, [4, 3, 2, 1])
    two_stages.history[2:] = [dataclasses.replace(row, stage=1) for row in two_stages.history[2:]]
    traces = json.loads(learning_curves([two_stages, record(1, [5, 4], status="PRUNED")]).figure)["data"]
    assert [(trace["name"], trace["x"], trace["opacity"] < 0.5) for trace in traces] == [
        ("stage 1", [1, 2, None], True),
        ("stage 1", [1, 2, None], False),
        ("stage 2", [2, 3, 4, None], False),
    ]
    assert traces[1]["line"]["color"] != traces[2]["line"]["color"]


def test_the_parameter_that_decides_is_the_most_important_one():
    random = np.random.default_rng(0)
    records = []
    for number in range(40):
        rate, other = 10 ** random.uniform(-5, -2), random.uniform()
        parameters = {"rate": float(rate), "other": float(other), "same": 1, "kind": "ab"[number % 2]}
        loss = abs(np.log10(rate) + 4) + 1 + 0.01 * other
        records.append(record(number, [loss], parameters=parameters))
    weights = importances(records)
    assert next(iter(weights)) == "rate"
    assert sum(weights.values()) == pytest.approx(1)
    assert "same" not in weights


def test_importance_needs_two_trials_that_have_come_to_a_rung_or_an_end():
    others = [
        record(n, [1.0 + n], status=status, parameters={"rate": n})
        for n, status in enumerate(["RUNNING", "FAILED", "RUNNING", "FAILED"])
    ]
    assert importances([*others, record(5, [1], parameters={"rate": 9})]) == {}
    assert importances([*others, *(record(5 + n, [n], status="PAUSED", parameters={"rate": n}) for n in (1, 2))])


def test_thinning_keeps_both_ends():
    assert thinned(range(1000), 4) == [0, 333, 666, 999]
    assert list(thinned([1, 2], 4)) == [1, 2]


def test_losses_far_apart_are_drawn_on_a_logarithmic_axis():
    assert metric_axis(METRICS["val_loss"], [1, 3]) == {"title": "val_loss"}
    assert metric_axis(METRICS["val_loss"], [1, 9])["type"] == "log"
    assert metric_axis(METRICS["map"], [0.1, 0.9], "best {}") == {"title": "best mAP"}


def test_plotly_sees_no_tags_in_names():
    assert plain("<a href='x'>&") == "&lt;a href='x'&gt;&amp;"


def test_every_colour_of_a_chart_has_one_for_the_dark():
    chart = stopped_at_rungs(
        [record(0, [1, 1]), record(1, [2], status="PRUNED"), record(2, [1, 1])],
        {"grace": 1, "max_epochs": 4, "reduction": 2},
    )
    colours = {trace["marker"]["color"] for trace in json.loads(chart.figure)["data"]}
    assert len(colours) == 3
    assert colours <= set(DARK)
