"""Which worker trained which trial, and when."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from results.formatting import count, duration, percent
from results.journal.journal import TrialRecord
from results.page.charts.chart import STATUS_COLORS, STATUS_WORDS, Chart, chart, plain, short
from results.page.charts.course import Epoch, SearchClock, time_unit

MOST_BARS = 1000
"""Most bars, those of the latest trials; in larger searches a bar would be narrower than a pixel."""
MOST_WORKERS = 64


@dataclass
class Stretch:
    """What one worker trained of one trial at one go."""

    record: TrialRecord
    worker: str
    start: float
    end: float
    """In seconds of the search."""
    epochs: int = 1


def worker_timeline(epochs: Sequence[Epoch]) -> Chart | None:
    """A row for each worker, a bar for each stretch of a trial that it trained.

    Args:
        epochs: as from `epochs_in_order`.
    """
    stretches = worker_stretches(epochs)
    if not stretches:
        return None
    workers = list(dict.fromkeys(stretch.worker for stretch in stretches))
    end = max(stretch.end for stretch in stretches)
    busy = sum(stretch.end - stretch.start for stretch in stretches) / (end * len(workers)) if end else 1.0
    shown = [stretch for stretch in stretches if stretch.worker in workers[-MOST_WORKERS:]][-MOST_BARS:]
    unit, size = time_unit(end)
    latest = ", the latest drawn" if len(shown) < len(stretches) else ""
    title = (
        f"{count(len(workers), 'worker')} in {duration(end)}, busy for {percent(min(busy, 1.0))} of the time; a gap is "
        f"starting, saving or waiting{latest}"
    )
    rows = min(len(workers), MOST_WORKERS)
    return chart(
        *("workers", title, [_bars(status, shown, size) for status in STATUS_COLORS if _of(status, shown)]),
        height=130 + min(26 * rows, max(9 * rows, 420)),
        barmode="overlay",
        xaxis={"title": unit},
        yaxis={"categoryorder": "array", "categoryarray": [plain(w) for w in reversed(workers)], "showgrid": False},
        uniformtext={"minsize": 9, "mode": "hide"},
    )


def worker_stretches(epochs: Sequence[Epoch]) -> list[Stretch]:
    """The stretches in the order in which they began. A trial that waited, or was resumed elsewhere, has several."""
    clock = SearchClock(epochs)
    seen: dict[int, int] = {}
    last: dict[str, Stretch] = {}
    stretches: list[Stretch] = []
    for epoch in epochs:
        record = epoch.record
        row = record.history[seen.setdefault(record.number, 0)]
        seen[record.number] += 1
        worker = "unknown · ?" if row.node is None else f"{row.node} · {row.pid}"
        stretch = last.get(worker)
        if stretch and stretch.record is record:
            stretch.end, stretch.epochs = clock(epoch.time), stretch.epochs + 1
            continue
        last[worker] = Stretch(record, worker, clock(epoch.started), clock(epoch.time))
        stretches.append(last[worker])
    return sorted(stretches, key=lambda stretch: stretch.start)


def _of(status: str, stretches: list[Stretch]) -> list[Stretch]:
    return [stretch for stretch in stretches if stretch.record.status == status]


def _bars(status: str, stretches: list[Stretch], size: float) -> Any:
    mine, word = _of(status, stretches), STATUS_WORDS[status]
    return go.Bar(
        name=word,
        orientation="h",
        y=[plain(stretch.worker) for stretch in mine],
        base=[short(stretch.start / size) for stretch in mine],
        x=[short((stretch.end - stretch.start) / size) for stretch in mine],
        text=[str(stretch.record.number) for stretch in mine],
        textposition="inside",
        insidetextanchor="middle",
        customdata=[[stretch.record.number, stretch.epochs] for stretch in mine],
        marker={"color": STATUS_COLORS[status], "line": {"width": 0.5}, "pattern": _PATTERNS[status]},
        hovertemplate=f"trial %{{customdata[0]}}, %{{customdata[1]}} epochs, {word}<extra>%{{y}}</extra>",
    )


_PATTERNS = {
    status: {"shape": shape, "fillmode": "overlay", "size": 6, "solidity": 0.15}
    for status, shape in (("COMPLETED", ""), ("PRUNED", "/"), ("FAILED", "x"), ("RUNNING", "."), ("PAUSED", "-"))
}
