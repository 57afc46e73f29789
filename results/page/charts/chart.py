"""What all charts share: the palette, the frame, and how large data is thinned."""

import html
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import plotly.graph_objects as go

from results.journal.journal import TrialRecord
from trainable.metric import Metric

Item = TypeVar("Item")

DARK = {
    "#1c2733": "#e3e8ee",
    "#5b6875": "#9aa7b4",
    "#c9d0d8": "#414c58",
    "#eef1f4": "#1b232c",
    "#0072b2": "#56b4e9",
    "#c45100": "#ff9a4d",
    "#00805f": "#3cc99b",
    "#a0528a": "#e39ac9",
    "#8a6d00": "#e0bf3a",
}
"""Each colour of the charts in light, and what the page draws in its place in the dark."""

INK, MUTED, FAINT, GROUND, *SERIES = DARK
"""Told apart by colour-blind readers (after Okabe and Ito), each at least 3:1 on the page in light and dark."""
ACCENT = SERIES[0]

STATUSES = {
    "COMPLETED": (SERIES[0], "completed", "circle"),
    "PRUNED": (SERIES[1], "pruned", "x"),
    "FAILED": (SERIES[3], "failed", "diamond"),
    "RUNNING": (SERIES[2], "unfinished", "circle-open"),
    "PAUSED": (SERIES[4], "paused at a rung", "square-open"),
}
STATUS_COLORS = {status: color for status, (color, _, _) in STATUSES.items()}
STATUS_WORDS = {status: word for status, (_, word, _) in STATUSES.items()}
STATUS_SYMBOLS = {status: symbol for status, (_, _, symbol) in STATUSES.items()}

MOST_DOTS = 500
"""Trials that a scatter shows at most."""


@dataclass(frozen=True)
class Chart:
    """A plotly figure and how the page frames it."""

    name: str
    """Unique in the page."""
    title: str
    """Says what to see in it."""
    height: int
    """Pixels."""
    figure: str
    """JSON for plotly.js."""


def chart(name: str, title: str, traces: Sequence[Any], height: int = 300, **layout: Any) -> Chart:
    """A chart of plotly traces; the page itself gives fonts, grid and background."""
    figure = go.Figure(list(traces), {"template": "none", **layout}).to_plotly_json()
    figure["layout"].pop("template", None)
    return Chart(name, title, height, json.dumps(figure, separators=(",", ":"), allow_nan=False))


def short(value: float | None) -> float | None:
    """A number to five significant digits, so that the page stays small; None where it is not finite."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def plain(text: Any) -> str:
    """Text for a chart: plotly reads tags and entities."""
    return html.escape(str(text), quote=False)


def thinned(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most so many of `items`, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(index * (len(items) - 1) / (most - 1))] for index in range(most)]


def whole_ticks(values: Sequence[int]) -> dict[str, Any]:
    """An axis of few whole numbers has no tick between them."""
    return {"dtick": 1} if max(values) - min(values, default=0) <= 10 else {}


def dots_by_status(points: Sequence[tuple[Any, TrialRecord]]) -> list[go.Scatter]:
    """A dot for each trial at its best value, a trace for each status.

    Args:
        points: x and the trial, which has an epoch.
    """
    traces = []
    for status, word in STATUS_WORDS.items():
        if of_status := thinned([point for point in points if point[1].status == status], MOST_DOTS):
            dots = go.Scatter(
                x=[x for x, _ in of_status],
                y=[short(record.compared) for _, record in of_status],
                customdata=[record.number for _, record in of_status],
                mode="markers",
                marker={"color": STATUS_COLORS[status], "symbol": STATUS_SYMBOLS[status], "size": 7, "opacity": 0.7},
                name=word,
                hovertemplate=f"trial %{{customdata}} ({word}): best %{{y:.4g}}<extra></extra>",
            )
            traces.append(dots)
    return traces


def metric_axis(metric: Metric, values: Iterable[float], title: str = "{}") -> dict[str, Any]:
    """An axis for what trials are compared by: logarithmic for losses that span more than a factor of four.

    Args:
        metric: what it shows.
        values: that it shows.
        title: with a place for what the metric is called.
    """
    positive = [value for value in values if value > 0]
    wide = not metric.more_is_better and bool(positive) and max(positive) > 4 * min(positive)
    return {"title": title.format(metric.title)} | ({"type": "log", "dtick": "D2"} if wide else {})
