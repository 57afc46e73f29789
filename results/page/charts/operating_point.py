"""Where to run the best model: its F1 over both thresholds, and precision against recall."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from results.formatting import percent, ratio
from results.measures.operating_point import USEFUL, useful_range
from results.measures.sweep import ALL
from results.page.charts.chart import ACCENT, FAINT, GROUND, INK, SERIES, Chart, chart, plain, short

MOST_CLASSES = 20
"""Classes that have a curve of their own."""


def f1_surface(sweep: pd.DataFrame, point: dict[str, Any]) -> Chart | None:
    """F1 of all classes over IoU x score, the operating point marked; None where F1 is 0 everywhere."""
    rows = sweep[sweep["class"] == ALL]
    if not rows["f1"].any():
        return None
    surface = rows.pivot(index="iou_threshold", columns="score_threshold", values="f1")
    heat = go.Heatmap(
        x=[short(float(x)) for x in surface.columns],
        y=[short(float(y)) for y in surface.index],
        z=[[short(value) for value in row] for row in surface.to_numpy()],
        colorscale=[[0, GROUND], [1, ACCENT]],
        zmin=0,
        colorbar={"title": "F1", "thickness": 12, "outlinewidth": 0},
        hovertemplate="score ≥ %{x:.2f}, IoU %{y:.2f}: F1 %{z:.3f}<extra></extra>",
    )
    marker = go.Scatter(
        x=[point["score_threshold"]],
        y=[point["iou_threshold"]],
        mode="markers",
        marker={"size": 11, "color": "#ffffff", "line": {"width": 3, "color": "#101418"}},
        hovertemplate=f"operating point: F1 {ratio(point['f1'])}<extra></extra>",
        cliponaxis=False,
        showlegend=False,
    )
    strictest = max(float(iou) for iou in rows["iou_threshold"])
    at_strict = float(surface.loc[strictest].to_numpy().max())
    title = (
        f"F1 is {ratio(point['f1'])} at the operating point (the dot: score ≥ {point['score_threshold']:.2f}, IoU "
        f"{point['iou_threshold']:g}); asked for boxes at IoU {strictest:g}, it is at most {ratio(at_strict)}"
    )
    return chart(
        *("f1-surface", title, [heat, marker]),
        height=340,
        xaxis={"title": "score threshold", "showgrid": False},
        yaxis={"title": "IoU threshold", "dtick": 0.1, "showgrid": False},
    )


def precision_recall(sweep: pd.DataFrame, point: dict[str, Any]) -> Chart | None:
    """Precision against recall over the score thresholds, with the operating point and its interval.

    None where nothing is found, or there is nothing to find.
    """
    rows = _at_iou(sweep, point)
    overall = _curve(rows, ALL)
    if not overall["tp"].any():
        return None
    classes = [name for name in dict.fromkeys(rows["class"]) if name != ALL][:MOST_CLASSES]
    traces = [_line(_curve(rows, name), plain(name), FAINT, 1.5) for name in classes] if len(classes) > 1 else []
    traces += [_line(overall, "all classes", ACCENT, 3), _point(point)]
    interval = point.get("interval") or {}
    spread = ", with its 95 % interval over pairs" if interval else ""
    title = (
        f"At the operating point, {ratio(point['precision'])} of what it marks is right and it finds "
        f"{ratio(point['recall'])} of the objects{spread}"
    )
    axis = {"range": [0, 1.02], "dtick": 0.2}
    return chart(
        *("precision-recall", title, traces),
        height=340,
        xaxis={"title": "recall", **axis},
        yaxis={"title": "precision", **axis},
    )


def score_curves(sweep: pd.DataFrame, point: dict[str, Any]) -> Chart | None:
    """Precision, recall and F1 of all classes against the score threshold."""
    rows = _at_iou(sweep, point)
    rows = rows[rows["class"] == ALL]
    useful = useful_range(sweep, point["iou_threshold"])
    if useful is None:
        return None
    traces = [
        go.Scatter(
            x=[short(x) for x in rows["score_threshold"]],
            y=[short(y) if detected else None for y, detected in zip(rows[name], rows["tp"] + rows["fp"], strict=True)],
            name=title,
            line={"color": color, "dash": dash, "width": 2.5},
            hovertemplate=f"score ≥ %{{x:.2f}}: {title} %{{y:.3f}}<extra></extra>",
        )
        for (name, title), color, dash in zip(
            (("precision", "precision"), ("recall", "recall"), ("f1", "F1")),
            (SERIES[1], SERIES[2], ACCENT),
            ("dash", "dot", "solid"),
            strict=True,
        )
    ]
    least, most = (f"{score:.2f}" for score in useful)
    which = f"Any score threshold from {least} to {most}" if least != most else f"Only a score threshold of {least}"
    title = f"{which} keeps {percent(USEFUL)} of the best F1"
    x = point["score_threshold"]
    line = {"type": "line", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1}
    return chart(
        *("score-curves", title, traces),
        height=300,
        xaxis={"title": "score threshold", "range": [0, 1]},
        yaxis={"range": [0, 1.02]},
        shapes=[{**line, "line": {"color": INK, "width": 1, "dash": "dot"}}],
    )


def _at_iou(sweep: pd.DataFrame, point: dict[str, Any]) -> pd.DataFrame:
    rows: pd.DataFrame = sweep[(sweep["iou_threshold"] - point["iou_threshold"]).abs() < 1e-6]
    return rows


def _curve(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """A class's rows that have detections, since 0/0 is no precision, from the lowest score threshold on."""
    return rows[(rows["class"] == name) & (rows["tp"] + rows["fp"] > 0)].sort_values("score_threshold")


def _line(rows: pd.DataFrame, name: str, color: str, width: float) -> go.Scatter:
    return go.Scatter(
        x=[short(x) for x in rows["recall"]],
        y=[short(y) for y in rows["precision"]],
        customdata=[short(score) for score in rows["score_threshold"]],
        name=name,
        line={"color": color, "width": width},
        showlegend=width > 2,
        hovertemplate=name + ", score ≥ %{customdata:.2f}: recall %{x:.3f}, precision %{y:.3f}<extra></extra>",
    )


def _point(point: dict[str, Any]) -> go.Scatter:
    interval = point.get("interval") or {}

    def bars(name: str) -> dict[str, Any] | None:
        if name not in interval:
            return None
        low, high = interval[name]
        lengths = {"array": [short(high - point[name])], "arrayminus": [short(point[name] - low)]}
        return {**lengths, "color": SERIES[1], "thickness": 2, "width": 5}

    return go.Scatter(
        x=[short(point["recall"])],
        y=[short(point["precision"])],
        error_x=bars("recall"),
        error_y=bars("precision"),
        mode="markers",
        name="operating point",
        marker={"color": SERIES[1], "size": 11},
        cliponaxis=False,
        hovertemplate="recall %{x:.3f}, precision %{y:.3f}<extra>operating point</extra>",
    )
