"""What mattered: the parameters by importance, and one by one."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import plotly.graph_objects as go

from results.description import short_names
from results.formatting import count, percent, setting
from results.journal.journal import TrialRecord
from results.page.charts.chart import (
    ACCENT,
    Chart,
    chart,
    dots_by_status,
    metric_axis,
    plain,
    short,
    whole_ticks,
)
from results.page.importance import is_logarithmic, is_numeric, parameter_values

MOST_PARAMETERS = 12
MOST_SLICES = 8


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
    title = f"{name} mattered most: {percent(share)} of the importance (PED-ANOVA over the best epochs of trials)"
    axis = {"title": "share of importance", "tickformat": ".0%", "range": [0, 1.15 * share]}
    above = {"x": 0, "xanchor": "left", "yanchor": "bottom", "yshift": 7, "showarrow": False, "font": {"size": 11}}
    return chart(
        *("importance", title, [bars]),
        height=90 + 38 * len(shown),
        xaxis=axis,
        yaxis={"showgrid": False, "showticklabels": False, "range": [-0.6, len(shown) - 0.2]},
        annotations=[{**above, "y": plain(name), "text": plain(name)} for name, _ in shown],
    )


def slices(records: Sequence[TrialRecord], order: Sequence[str]) -> list[Chart]:
    """For each of the parameters that matter most, the metric against its values; a dot a trial."""
    ranked = _ranked(records)
    return [_slice(ranked, name, index) for index, name in enumerate(_shown(ranked, order)[:MOST_SLICES])]


def _slice(ranked: list[TrialRecord], name: str, index: int) -> Chart:
    having = [record for record in ranked if name in record.parameters]
    values = [record.parameters[name] for record in having]
    if all(record.recipe and record.recipe.model == record.parameters[name] for record in having):
        names = short_names(values)
        values = [names[model] for model in values]
    numeric = is_numeric(values)
    points = [(short(value) if numeric else plain(value), record) for value, record in zip(values, having, strict=True)]
    axis = _axis(values) if numeric else {"type": "category"}
    title = f"{name}: the best of {count(len(having), 'trial')} has {setting(values[0])}"
    values_reached = [record.compared for record in having]
    return chart(
        *(f"slice-{index}", title, dots_by_status(points)),
        height=250,
        xaxis={"title": plain(name), "exponentformat": "e", **axis},
        yaxis=metric_axis(having[0].metric, values_reached),
        showlegend=False,
    )


def _axis(values: list[Any]) -> dict[str, Any]:
    if is_logarithmic(values):
        return {"type": "log"}
    return whole_ticks(values) if all(isinstance(value, int) for value in values) else {}


def _ranked(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Trials with parameters and a result, the best first."""
    having = [record for record in records if record.best and record.parameters and record.status != "FAILED"]
    return sorted(having, key=attrgetter("objective"))


def _shown(records: Sequence[TrialRecord], order: Sequence[str]) -> list[str]:
    """Parameters that varied, the most important first and then those that most trials have."""
    varied = parameter_values(records)
    having = {name: sum(name in record.parameters for record in records) for name in varied}
    rest = sorted((name for name in varied if name not in order), key=lambda name: -having[name])
    return [*(name for name in order if name in varied), *rest]
