"""What mattered: the parameters by importance, against each other, and one by one."""

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from results.formatting import count, percent, setting
from results.journal.journal import TrialRecord
from results.page.charts.chart import (
    ACCENT,
    FAINT,
    MUTED,
    Chart,
    chart,
    dots_by_status,
    loss_axis,
    plain,
    short,
    thinned,
    whole_ticks,
)
from results.page.importance import is_logarithmic, is_numeric, parameter_values

MOST_PARAMETERS = 12
MOST_AXES = 7
"""Most axes of the parallel coordinates; more cannot be read on a phone."""
MOST_SLICES = 8
MOST_LINES = 200


def importance_bars(importances: dict[str, float]) -> Chart | None:
    """A bar for each parameter, the most important on top.

    Args:
        importances: shares by parameter, the greatest first.
    """
    if not importances:
        return None
    shown = list(importances.items())[:MOST_PARAMETERS][::-1]
    bars = go.Bar(
        orientation="h",
        y=[plain(name) for name, _ in shown],
        x=[short(share) for _, share in shown],
        width=0.42,
        text=[percent(share) for _, share in shown],
        textposition="outside",
        cliponaxis=False,
        marker={"color": ACCENT},
        hovertemplate="%{y}: %{x:.1%}<extra></extra>",
    )
    name, share = next(iter(importances.items()))
    title = f"{name} mattered most: {percent(share)} of the importance (PED-ANOVA over the completed trials)"
    axis = {"title": "share of importance", "tickformat": ".0%", "range": [0, 1.15 * share]}
    above = {"x": 0, "xanchor": "left", "yanchor": "bottom", "yshift": 7, "showarrow": False, "font": {"size": 11}}
    return chart(
        *("importance", title, [bars]),
        height=90 + 38 * len(shown),
        xaxis=axis,
        yaxis={"showgrid": False, "showticklabels": False, "range": [-0.6, len(shown) - 0.2]},
        annotations=[{**above, "y": plain(name), "text": plain(name)} for name, _ in shown],
    )


def parallel_coordinates(records: Sequence[TrialRecord], order: Sequence[str]) -> Chart | None:
    """A line a trial across the parameters that matter most, ending at its `val_loss`; the best tenth stand out.

    Args:
        records: of the search.
        order: parameters, the most important first.
    """
    ranked = _ranked(records)
    names = _shown(ranked, order)[:MOST_AXES]
    if len(ranked) < 2 or not names:
        return None
    axes = [_Axis(name, [r.parameters.get(name) for r in ranked]) for name in names]
    axes.append(_Axis("val_loss", [(record.best or {})["val_loss"] for record in ranked]))
    best = max(1, math.ceil(len(ranked) / 10))
    groups = (
        ("the others", list(thinned(ranked[best:], MOST_LINES)), FAINT, 1.0),
        (f"the best {best}", list(thinned(ranked[:best], MOST_LINES)), ACCENT, 2.2),
    )
    traces = [_lines(*group, axes) for group in groups]
    title = (
        (f"Where the strong lines, the best {best}" if best > 1 else "The strong line is the best")
        + f" of {count(len(ranked), 'trial')}"
        + (", run together, good recipes agree" if best > 1 else "")
        + "; a line that leaves out an axis has no such parameter"
    )
    return chart(
        *("parallel", title, traces),
        height=420,
        least_width=105 * len(axes),
        xaxis={
            "tickvals": list(range(len(axes))),
            "ticktext": [_wrapped(axis.name) for axis in axes],
            "range": [-0.3, len(axes) - 0.7],
            "tickangle": 0,
        },
        yaxis={"visible": False, "range": [-0.08, 1.08]},
        annotations=[note for index, axis in enumerate(axes) for note in axis.notes(index)],
    )


def slices(records: Sequence[TrialRecord], order: Sequence[str]) -> list[Chart]:
    """For each of the parameters that matter most, `val_loss` against its values; a dot a trial."""
    ranked = _ranked(records)
    return [_slice(ranked, name, index) for index, name in enumerate(_shown(ranked, order)[:MOST_SLICES])]


class _Axis:
    """One parameter's values on a scale from 0 to 1."""

    def __init__(self, name: str, values: list[Any]):
        self.name = name
        present = [value for value in values if value is not None]
        self.numeric = is_numeric(present)
        self.log = self.numeric and is_logarithmic(present)
        self.categories = [] if self.numeric else sorted({str(value) for value in present})
        scaled = [self._scale(value) for value in present]
        self.low, self.high = min(scaled), max(scaled)
        self.ends = (min(present), max(present)) if self.numeric else ("", "")

    def position(self, value: Any) -> float | None:
        if value is None:
            return None
        spread = self.high - self.low
        return round((self._scale(value) - self.low) / spread, 4) if spread else 0.5

    def notes(self, x: int) -> list[dict[str, Any]]:
        """The axis's ends, or its categories, as plotly annotations."""
        if self.numeric:
            ends = zip((-0.01, 1.01), ("top", "bottom"), self.ends, strict=True)
            return [_note(x, y, setting(value), anchor) for y, anchor, value in ends]
        return [_note(x, self.position(name) or 0.0, plain(name), "bottom") for name in self.categories]

    def _scale(self, value: Any) -> float:
        if not self.numeric:
            return float(self.categories.index(str(value)))
        return math.log10(value) if self.log else float(value)


def _note(x: int, y: float, text: str, anchor: str) -> dict[str, Any]:
    return {"x": x, "y": y, "text": text, "yanchor": anchor, "showarrow": False, "font": {"size": 10, "color": MUTED}}


def _lines(name: str, records: list[TrialRecord], color: str, width: float, axes: list[_Axis]) -> go.Scatter:
    x: list[float | None] = []
    y: list[float | None] = []
    texts: list[str | None] = []
    for record in records:
        values = [*(record.parameters.get(axis.name) for axis in axes[:-1]), (record.best or {})["val_loss"]]
        for index, (axis, value) in enumerate(zip(axes, values, strict=True)):
            if value is not None:
                x.append(index)
                y.append(axis.position(value))
                shown = setting(value) if axis.numeric else plain(value)
                texts.append(f"trial {record.number}, {plain(axis.name)}: {shown}")
        x.append(None)
        y.append(None)
        texts.append(None)
    return go.Scatter(
        x=x,
        y=y,
        text=texts,
        mode="lines+markers",
        marker={"size": 3 + width},
        line={"color": color, "width": width},
        name=name,
        hovertemplate="%{text}<extra></extra>",
    )


def _slice(ranked: list[TrialRecord], name: str, index: int) -> Chart:
    having = [record for record in ranked if name in record.parameters]
    values = [record.parameters[name] for record in having]
    numeric = is_numeric(values)
    points = [(short(value) if numeric else plain(value), record) for value, record in zip(values, having, strict=True)]
    best = having[0].parameters[name]
    axis = _axis(values) if numeric else {"type": "category"}
    title = f"{name}: the best of {count(len(having), 'trial')} has {setting(best)}"
    losses = [(record.best or {})["val_loss"] for record in having]
    return chart(
        *(f"slice-{index}", title, dots_by_status(points)),
        height=250,
        xaxis={"title": plain(name), "exponentformat": "e", **axis},
        yaxis=loss_axis(losses),
        showlegend=False,
    )


def _axis(values: list[Any]) -> dict[str, Any]:
    if is_logarithmic(values):
        return {"type": "log"}
    return whole_ticks(values) if all(isinstance(value, int) for value in values) else {}


def _ranked(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials with parameters and a result, the best first."""
    having = [record for record in records if record.best and record.parameters and record.status != "FAILED"]
    return sorted(having, key=lambda record: (record.best or {})["val_loss"])


def _shown(records: Sequence[TrialRecord], order: Sequence[str]) -> list[str]:
    """Parameters that varied, the most important first and then those that most trials have."""
    varied = parameter_values(records)
    having = {name: sum(name in record.parameters for record in records) for name in varied}
    rest = sorted((name for name in varied if name not in order), key=lambda name: -having[name])
    return [*(name for name in order if name in varied), *rest]


def _wrapped(name: str) -> str:
    """A parameter's name on several short lines."""
    return plain(name).replace(".", ".<br>").replace("_", "_<br>")
