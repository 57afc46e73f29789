"""The recipe over its epochs: which part trains when, and at what learning rate."""

import math
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from results.formatting import setting
from results.page.charts.chart import ACCENT, GROUND, MUTED, SERIES, Chart, chart, plain, short
from trainable.recipe import PARTS, Recipe, Stage

POINTS_PER_STAGE = 240


def recipe_timeline(recipe: Recipe, title: str, best_epoch: int | None = None) -> Chart:
    """The parts as rows of bars over the epochs, above the curve of the learning rate.

    Args:
        recipe: what is drawn.
        title: what to see.
        best_epoch: marked, where given.
    """
    stages = recipe.stages
    ends = list(accumulate(stage.epochs for stage in stages))
    starts = [0, *ends[:-1]]
    traces: list[Any] = []
    for index, (stage, start) in enumerate(zip(stages, starts, strict=True)):
        color = SERIES[index % len(SERIES)]
        name = f"stage {index + 1}: {plain(stage.name)}"
        traces += [_bars(name, stage, start, color, learning=True), _bars(name, stage, start, GROUND, learning=False)]
        epochs, values = learning_rates(stage, recipe.warmup_share)
        shifted = [short(start + epoch) for epoch in epochs]
        hover = "epoch %{x:.1f}: %{y:.3g}<extra></extra>"
        traces.append(
            go.Scatter(x=shifted, y=values, yaxis="y2", line={"color": color}, showlegend=False, hovertemplate=hover)
        )
    peaks = [stage.learning_rate for stage in stages]
    lines = [{"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1, "line": _LINE} for x in ends[:-1]]
    return chart(
        "recipe-timeline",
        title,
        traces,
        height=400,
        barmode="overlay",
        bargap=0.25,
        xaxis={"title": "epoch", "range": [0, ends[-1]], "anchor": "y2"},
        yaxis={"domain": [0.52, 1], "showgrid": False, **_ROWS},
        yaxis2={"domain": [0, 0.44], "title": "learning rate", **_learning_rate_axis(peaks)},
        shapes=lines + ([_best_line(best_epoch)] if best_epoch else []),
        annotations=[_peak(stage, start, peaks) for stage, start in zip(stages, starts, strict=True)]
        + ([_best_note(best_epoch)] if best_epoch else []),
    )


def learning_rates(stage: Stage, warmup_share: float) -> tuple[list[float], list[float | None]]:
    """Epochs within a stage and the learning rate there: a linear rise, then cosines with hard restarts, as the
    trainer's.
    """
    epochs = [stage.epochs * index / POINTS_PER_STAGE for index in range(POINTS_PER_STAGE)]
    values = [stage.learning_rate * _share(epoch / stage.epochs, stage, warmup_share) for epoch in epochs]
    return epochs, [short(learning_rate) for learning_rate in values]


def _share(progress: float, stage: Stage, warmup_share: float) -> float:
    if progress < warmup_share:
        return progress / warmup_share
    cycles = stage.restart_cycles * (progress - warmup_share) / (1 - warmup_share)
    return 0.5 * (1 + math.cos(math.pi * (cycles % 1)))


def _bars(name: str, stage: Stage, start: int, color: str, learning: bool) -> go.Bar:
    """A stage's bars, of the parts that learn in it or of those that are frozen."""
    parts = [part for part in PARTS if (part in stage.trainable) is learning]
    word, last = "trains" if learning else "is frozen", start + stage.epochs
    return go.Bar(
        name=name,
        orientation="h",
        y=[_spaced(part) for part in parts],
        x=[stage.epochs] * len(parts),
        base=[start] * len(parts),
        marker={"color": color},
        hovertemplate=f"%{{y}} {word} in {name}, epochs {start + 1}–{last}<extra></extra>",
        showlegend=learning,
    )


def _learning_rate_axis(peaks: list[float]) -> dict[str, Any]:
    """Logarithmic where the stages' learning rates lie far apart; the cosines' feet, which reach 0, are then cut
    off.
    """
    low, high = min(peaks), max(peaks)
    if high < 5 * low:
        return {"rangemode": "tozero", "exponentformat": "e"}
    return {"type": "log", "range": [math.log10(low / 20), math.log10(high * 2.5)], "dtick": 1, "exponentformat": "e"}


def _peak(stage: Stage, start: int, peaks: list[float]) -> dict[str, Any]:
    learning_rate = stage.learning_rate
    log = max(peaks) >= 5 * min(peaks)
    where = {
        "x": start,
        "y": math.log10(learning_rate) if log else learning_rate,
        "xanchor": "left",
        "yanchor": "bottom",
        "yref": "y2",
    }
    return {**where, "text": setting(learning_rate), "showarrow": False, "font": {"size": 11, "color": MUTED}}


_ROWS = {"categoryorder": "array", "categoryarray": [part.replace("_", " ") for part in reversed(PARTS)]}
_LINE = {"color": MUTED, "width": 1, "dash": "dot"}


def _best_line(epoch: int) -> dict[str, Any]:
    line = {"color": ACCENT, "width": 2}
    return {"type": "line", "x0": epoch, "x1": epoch, "yref": "paper", "y0": 0, "y1": 1, "line": line}


def _best_note(epoch: int) -> dict[str, Any]:
    where = {"x": epoch, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "right"}
    return {**where, "text": f"best epoch {epoch}", "showarrow": False, "font": {"size": 11, "color": ACCENT}}


def _spaced(part: str) -> str:
    return part.replace("_", " ")
