"""The course of a search: the best so far, and the learning curves."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import attrgetter

import plotly.graph_objects as go

from results.formatting import count, figure
from results.journal.journal import TrialRecord, metric_of
from results.page.charts.chart import (
    ACCENT,
    INK,
    SERIES,
    Chart,
    chart,
    dots_by_status,
    metric_axis,
    short,
    thinned,
    whole_ticks,
)
from trainable.history import EpochRow

MOST_CURVES = 150
MOST_POINTS = 60
"""Most points of a learning curve."""
FEW_POINTS = 60
"""Up to here each is marked, since a stage of one epoch has no line."""
PAUSE = 600.0
"""Seconds without any training after which the search is taken to have been interrupted."""


@dataclass(frozen=True)
class Epoch:
    """One reported epoch, as a moment of the search."""

    record: TrialRecord
    time: float
    started: float
    row: EpochRow


def epochs_in_order(records: Sequence[TrialRecord]) -> list[Epoch]:
    """All epochs in the order in which they were reported; an epoch starts where its trial's last one ended."""
    found = []
    for record in records:
        trained = 0.0
        for row, time in zip(record.history, record.reported, strict=True):
            started = time - (row.seconds - trained)
            found.append(Epoch(record, time, started, row))
            trained = row.seconds
    return sorted(found, key=lambda epoch: epoch.time)


class SearchClock:
    """Seconds since the search began, without the pauses between its interruption and its resumption.

    Args:
        epochs: in the order of time.
    """

    def __init__(self, epochs: Sequence[Epoch]):
        self.pauses: list[tuple[float, float]] = []
        self.start = reached = min((epoch.started for epoch in epochs), default=0.0)
        for epoch in sorted(epochs, key=lambda epoch: epoch.started):
            if epoch.started - reached > PAUSE:
                self.pauses.append((reached, epoch.started))
            reached = max(reached, epoch.time)
        self._ends = [end for _, end in self.pauses]
        self._paused = [0.0, *accumulate(end - start for start, end in self.pauses)]

    def __call__(self, time: float) -> float:
        return max(0.0, time - self.start - self._paused[bisect_right(self._ends, time)])


def time_unit(seconds: float) -> tuple[str, float]:
    """The unit in which so long a time is drawn, and its seconds."""
    return next((unit, size) for unit, size, most in _UNITS if seconds < most)


_UNITS = (("seconds", 1.0, 180.0), ("minutes", 60.0, 10_800.0), ("hours", 3600.0, float("inf")))


def best_over_epochs(epochs: Sequence[Epoch]) -> Chart | None:
    """The best so far against the epochs that all trials that did not fail have trained together.

    Args:
        epochs: as from `epochs_in_order`.
    """
    counted = _that_count(epochs)
    if not counted:
        return None
    metric, improved = counted[0].record.metric, _improvements(counted)
    ends = {epoch.record.number: (position, epoch.record) for position, epoch in enumerate(counted, start=1)}
    reference = next((record.best for _, record in ends.values() if record.reference), None)
    title = f"Of {count(len(counted), 'epoch')}, it took {improved[-1][0]:,} to reach the best {metric.title}"
    shapes = []
    if reference and reference.objective > improved[-1][1].row.objective:
        first = next(x for x, epoch in improved if epoch.row.objective <= reference.objective)
        line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": reference.compared}
        shapes = [line | {"y1": reference.compared, "line": {"color": INK, "dash": "dot", "width": 1}}]
        title += f", and {first:,} to reach the reference's {figure(reference.compared)} (dotted)"
    traces = [*dots_by_status([(short(x), record) for x, record in ends.values()]), _best_line(improved, len(counted))]
    axis = metric_axis(metric, [record.compared for _, record in ends.values()], "best {}")
    return chart("best-over-epochs", title, traces, xaxis={"title": "epochs spent"}, yaxis=axis, shapes=shapes)


def learning_curves(records: Sequence[TrialRecord]) -> Chart | None:
    """The metric over the epochs of each trial, a colour a stage; pruned and failed trials faint."""
    curves = [record for record in records if record.history]
    if not curves:
        return None
    metric = metric_of(curves)
    ranked = sorted(curves, key=attrgetter("objective"))
    third = MOST_CURVES // 3
    drawn = [*ranked[:third], *thinned(ranked[third:], MOST_CURVES - third)]
    stages = max(row.stage for record in drawn for row in record.history) + 1
    traces = []
    for faint in (True, False):
        group = [record for record in drawn if (record.status in ("PRUNED", "FAILED")) is faint]
        traces += [trace for stage in range(stages) if (trace := _stage_curves(group, stage, faint))]
    _legend_once(traces)
    kept = sum(record.status == "COMPLETED" for record in curves)
    shown = f", {len(drawn)} of them drawn" if len(drawn) < len(curves) else ""
    title = (
        f"Learning curves of {count(len(curves), 'trial')}{shown}: {kept} trained to the end (strong); those pruned or "
        "failed are faint; a change of colour is a new stage"
    )
    values = [row.compared for record in drawn for row in record.history]
    epochs = [record.history[-1].epoch for record in drawn]
    axis = {"title": "epoch", **whole_ticks([1, *epochs])}
    return chart("learning-curves", title, traces, height=380, xaxis=axis, yaxis=metric_axis(metric, values))


def _that_count(epochs: Iterable[Epoch]) -> list[Epoch]:
    return [epoch for epoch in epochs if epoch.record.status != "FAILED"]


def _improvements(epochs: Iterable[Epoch]) -> list[tuple[int, Epoch]]:
    """The epochs that were the best so far, and their numbers from 1."""
    improved: list[tuple[int, Epoch]] = []
    for position, epoch in enumerate(epochs, start=1):
        if not improved or epoch.row.objective < improved[-1][1].row.objective:
            improved.append((position, epoch))
    return improved


def _best_line(improved: Sequence[tuple[float, Epoch]], end: float) -> go.Scatter:
    return go.Scatter(
        x=[*(short(x) for x, _ in improved), short(end)],
        y=[*(short(epoch.row.compared) for _, epoch in improved), short(improved[-1][1].row.compared)],
        customdata=[*(epoch.record.number for _, epoch in improved), improved[-1][1].record.number],
        mode="lines",
        line={"color": ACCENT, "shape": "hv", "width": 3},
        name="best so far",
        hovertemplate="best so far %{y:.4g} (trial %{customdata})<extra></extra>",
    )


def _stage_curves(records: list[TrialRecord], stage: int, faint: bool) -> go.Scatter | None:
    """One trace of all trials' pieces in a stage, with gaps between; a piece starts where the stage before ended."""
    x: list[float | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for record in records:
        piece = [index for index, row in enumerate(record.history) if row.stage == stage]
        if piece and piece[0]:
            piece.insert(0, piece[0] - 1)
        for index in thinned(piece, MOST_POINTS):
            row = record.history[index]
            x.append(row.epoch)
            y.append(short(row.compared))
            numbers.append(record.number)
        x.append(None)
        y.append(None)
        numbers.append(None)
    if not any(value is not None for value in x):
        return None
    return go.Scatter(
        x=x,
        y=y,
        customdata=numbers,
        mode="lines" if len(x) > FEW_POINTS else "lines+markers",
        marker={"size": 4},
        line={"color": SERIES[stage % len(SERIES)], "width": 1 if faint else 1.8},
        opacity=0.35 if faint else 0.9,
        name=f"stage {stage + 1}",
        legendgroup=f"stage {stage + 1}",
        hovertemplate=f"trial %{{customdata}}, epoch %{{x}}, stage {stage + 1}: %{{y:.4g}}<extra></extra>",
    )


def _legend_once(traces: list[go.Scatter]) -> None:
    """A legend entry for each stage, of its strongest trace."""
    last = {trace.name: trace for trace in traces}
    for trace in traces:
        trace.showlegend = last[trace.name] is trace
