"""What ASHA did: which trials it stopped at which rung, and what that saved."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from results.journal.journal import TrialRecord, metric_of
from results.page.charts.chart import (
    INK,
    MOST_DOTS,
    STATUS_COLORS,
    STATUS_SYMBOLS,
    Chart,
    chart,
    metric_axis,
    short,
    thinned,
)
from results.rungs import rung_epochs
from trainable.metric import Metric


@dataclass(frozen=True)
class Spent:
    """Epochs of all trials that have ended."""

    kept: int
    """Trained by trials that were not pruned."""
    pruned: int
    """Trained by trials before they were pruned."""
    saved: int
    """Left untrained by pruning."""

    @property
    def budget(self) -> int:
        """Epochs that it would have been without pruning."""
        return self.kept + self.pruned + self.saved


def epochs_spent(records: Sequence[TrialRecord]) -> Spent:
    """What the trials trained, and what pruning saved."""
    pruned = [record for record in records if record.status == "PRUNED"]
    planned = sum(stage.epochs for record in pruned for stage in record.stages)
    of_pruned, of_all = (sum(len(record.history) for record in some) for some in (pruned, records))
    return Spent(kept=of_all - of_pruned, pruned=of_pruned, saved=max(0, planned - of_pruned))


def stopped_at_rungs(records: Sequence[TrialRecord], asked: dict[str, Any]) -> Chart | None:
    """For each rung the metric of the trials there: those that went no further by now, and those that went on.

    Args:
        records: of the search.
        asked: `search.yaml`, for the rungs.
    """
    levels = rung_epochs(asked["grace"], asked["max_epochs"], asked["reduction"]) if "grace" in asked else ()
    if not levels or not any(len(record.history) >= levels[0] for record in records):
        return None
    metric = metric_of(records)
    groups: dict[str, list[tuple[float, float, int]]] = {"went on": [], "stopped here": [], "the reference": []}
    stops = []
    for position, level in enumerate(levels):
        there = [record for record in records if record.history and record.history[-1].epoch >= level]
        following = levels[position + 1] if position + 1 < len(levels) else float("inf")
        stopped = [r for r in there if r.status in ("PRUNED", "PAUSED") and r.history[-1].epoch < following]
        stops.append(f"{len(stopped)} of {len(there)} at epoch {level}")
        numbers = {record.number for record in stopped}
        for index, record in enumerate(thinned(there, MOST_DOTS)):
            name = "the reference" if record.reference else "stopped here" if record.number in numbers else "went on"
            value = next(row.compared for row in record.history if row.epoch >= level)
            groups[name].append((position + _spread(index), value, record.number))
    pruned = any(record.status == "PRUNED" for record in records)
    title = f"ASHA stopped {', '.join(stops)}" if pruned else "ASHA has stopped no trial"
    return chart(
        *("rungs", title, [_group(name, metric, points) for name, points in groups.items() if points]),
        height=340,
        xaxis={
            "title": "rung (epochs trained)",
            "tickvals": list(range(len(levels))),
            "ticktext": [f"{level}" for level in levels],
            "range": [-0.5, len(levels) - 0.5],
            "showgrid": False,
        },
        yaxis=metric_axis(metric, (value for points in groups.values() for _, value, _ in points), "{} at the rung"),
    )


def _spread(index: int) -> float:
    """A sideways shift within a rung that keeps neighbours apart (golden ratio), in -0.3 to 0.3."""
    return round(0.6 * ((index * 0.618034) % 1 - 0.5), 3)


def _group(name: str, metric: Metric, points: list[tuple[float, float, int]]) -> go.Scatter:
    style = {
        "went on": {"color": STATUS_COLORS["COMPLETED"], "symbol": "circle", "size": 7},
        "stopped here": {"color": STATUS_COLORS["PRUNED"], "symbol": STATUS_SYMBOLS["PRUNED"], "size": 8},
        "the reference": {"color": INK, "symbol": "star", "size": 12},
    }[name]
    return go.Scatter(
        x=[x for x, _, _ in points],
        y=[short(value) for _, value, _ in points],
        customdata=[number for _, _, number in points],
        mode="markers",
        name=name,
        marker=style,
        hovertemplate=f"trial %{{customdata}}, {metric.title} %{{y:.4g}}, {name}<extra></extra>",
    )
