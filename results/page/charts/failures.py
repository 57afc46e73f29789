"""How the best model is wrong: its errors by cause, and whether its scores can be trusted."""

from typing import Any

import plotly.graph_objects as go

from results.formatting import count, percent, ratio
from results.measures.errors import ERRORS
from results.measures.operating_point import USEFUL
from results.page.charts.chart import ACCENT, MUTED, SERIES, Chart, chart, short


def error_split(errors: dict[str, int], where: str = "the operating point") -> Chart | None:
    """A bar for each cause of error, the most frequent on top; None where there is no error.

    Args:
        errors: counts by kind, as in `metrics.json`.
        where: the thresholds at which they were counted, in words.
    """
    total = sum(errors.values())
    if not total:
        return None
    ordered = sorted(errors, key=lambda kind: errors[kind])
    worst = ordered[-1]
    bars = go.Bar(
        orientation="h",
        y=ordered,
        x=[errors[kind] for kind in ordered],
        text=[f"{errors[kind]:,}" for kind in ordered],
        textposition="outside",
        cliponaxis=False,
        customdata=[ERRORS.get(kind, "") for kind in ordered],
        marker={"color": [SERIES[1] if kind == worst else ACCENT for kind in ordered]},
        hovertemplate="%{y}: %{x} (%{customdata})<extra></extra>",
    )
    title = (
        f"{percent(errors[worst] / total)} of the {count(total, 'error')} at {where} are of the kind "
        f"“{worst}”: {ERRORS.get(worst, '')}"
    )
    return chart("error-split", title, [bars], xaxis={"title": "errors", "rangemode": "tozero"}, height=280)


def calibration_plot(calibration: dict[str, Any]) -> Chart | None:
    """The share of right detections against their mean score; None where nothing was detected.

    Args:
        calibration: as in `metrics.json`.
    """
    bins = [entry for entry in calibration.get("bins", ()) if entry["count"]]
    error = calibration.get("expected_calibration_error")
    if not bins or error is None:
        return None
    most = max(entry["count"] for entry in bins)
    diagonal = {"color": MUTED, "dash": "dot", "width": 1}
    exact = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=diagonal, name="exact", hoverinfo="skip")
    met = go.Scatter(
        x=[short(entry["mean_score"]) for entry in bins],
        y=[short(entry["precision"]) for entry in bins],
        customdata=[entry["count"] for entry in bins],
        mode="lines+markers",
        name="detections by score (the larger, the more)",
        line={"color": ACCENT},
        marker={"size": [6 + 14 * (entry["count"] / most) ** 0.5 for entry in bins]},
        hovertemplate="%{customdata} detections of score %{x:.2f}: %{y:.1%} right<extra></extra>",
    )
    above = sum(entry["count"] * (entry["mean_score"] - entry["precision"]) for entry in bins) > 0
    title = (
        f"{_counted(calibration.get('lowest_score'))} are {ratio(error)} off (expected calibration error), mostly too "
        f"{'high' if above else 'low'}: below the dotted line they promise too much"
    )
    axis = {"range": [-0.02, 1.04], "dtick": 0.2}
    return chart(
        *("calibration", title, [exact, met]),
        height=320,
        xaxis={"title": "mean score", **axis},
        yaxis={"title": "share that is right", **axis},
    )


def _counted(lowest_score: float | None) -> str:
    """Which scores are counted; metrics of earlier versions have those of every query and do not say so."""
    if lowest_score is None:
        return "All scores, with those of queries that found nothing,"
    return f"Scores from {lowest_score:.2f} on (below it, F1 is under {percent(USEFUL)} of its best)"
