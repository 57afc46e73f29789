"""One page for whoever looks at a search: `python results/report.py RUN` makes `report.html` from the run folder.

The page needs nothing but itself: plotly's script, the images and all data are in it. It can be made while a search
runs, after it, and of one that broke.
"""

import functools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

if __name__ == "__main__":  # The checkout that this file lies in runs, whichever one the environment has installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import optuna
import typer
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from results.description import model_rows, stage_rows, whole_settings
from results.formatting import cameras, count, figure, percent, ratio, unread
from results.journal.events import JournalError
from results.journal.journal import TrialRecord, metric_of
from results.page.charts.chart import DARK, STATUS_WORDS, Chart
from results.page.charts.course import best_over_epochs, epochs_in_order, learning_curves
from results.page.charts.failures import calibration_plot, error_split
from results.page.charts.operating_point import f1_surface, precision_recall, score_curves
from results.page.charts.parameters import importance_bars, slices
from results.page.charts.recipe import recipe_timeline
from results.page.charts.rungs import epochs_spent, stopped_at_rungs
from results.page.charts.workers import worker_timeline
from results.page.confirmation import confirmed_rows
from results.page.contents import RunContents, RunError, read_run
from results.page.importance import compared, importances
from results.page.overlays import read_overlays
from results.page.rows import class_rows, differences, shown_trials, trial_details, trial_rows
from results.page.verdict import further_sentences, headline, operating_point_sentence
from trainable.detection import IOU_THRESHOLD
from trainable.storage.durable_file import write_atomically
from trainable.storage.remote import Remote, is_uri, without_secrets
from trainable.text.command_line import Command, command_line, stop

FEW_TRIALS = 20
"""Completed trials below which what mattered is a weak guess."""
MOST_FAULTS = 200
MOST_PAIRS = 12
MOST_NAMED = 12
"""Names that are shown of each thing that was noticed in the data."""

TEMPLATES = Path(__file__).parent / "page" / "templates"

app = Command()


@app.command()
def main(run: Annotated[Path, typer.Argument(help="The run folder.")]) -> None:
    """Write report.html of a run from its folder alone. The run may be finished, still running, or broken off."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        typer.echo(write_report(run))
    except (RunError, JournalError, OSError) as error:
        stop(error)


def write_report(run: Path, records: Sequence[TrialRecord] | None = None, live: bool = False) -> Path:
    """Writes `report.html` into a run folder; a reader sees the old page or the new, never half.

    Args:
        run: the run folder.
        records: its trials, where the caller has them; otherwise the journal is read.
        live: whether the search is going on, so that an open page is to look for its next version.

    Returns:
        The path of the page.

    Raises:
        RunError: the folder holds no run.
        JournalError: its journal is damaged.
        OSError: the page cannot be written.
    """
    path = run / "report.html"
    write_atomically(path, render(read_run(run, records), live))
    return path


def render(contents: RunContents, live: bool = False) -> str:
    """The page as HTML."""
    return _template().render(
        name=contents.path.resolve().name,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        live=live,
        state=_state(contents, live),
        plotly=Markup(get_plotlyjs()),
        dark_colors=DARK,
        **_verdict(contents),
        **_recipe(contents),
        **_operating_point(contents),
        **_images(contents),
        **_search(contents),
        **_parameters(contents),
        **_trials(contents),
        **_repetition(contents),
        metric=metric_of(contents.records),
    )


@functools.cache
def _template() -> Template:
    """Kept, since it takes a while to compile, and a live report is written again and again."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {"script_json": _script_json, "figure": figure, "ratio": ratio}
    return environment.get_template("report.html.j2")


def _script_json(content: Any) -> Markup:
    """JSON for a script element, which no text in it can end."""
    text = content.figure if isinstance(content, Chart) else json.dumps(content, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def _state(contents: RunContents, live: bool) -> str:
    counts = Counter(record.status for record in contents.records)
    wanted = max(contents.asked.get("trials", 0), len(contents.records))
    ended = len(contents.records) - counts["RUNNING"] - counts["PAUSED"]
    waiting = f", {counts['PAUSED']} at a rung" if counts["PAUSED"] else ""
    done = f"{ended} of {count(wanted, 'trial')} ended{waiting}"
    if live:
        return f"Running: {done}."
    return f"Finished: {done}." if ended == wanted and ended else f"Not finished: {done}."


def _verdict(contents: RunContents) -> dict[str, Any]:
    best, point = contents.best, contents.metrics.get("recommended") or {}
    metric, spent = metric_of(contents.records), epochs_spent(contents.records)
    counts = Counter(record.status for record in contents.records)
    saved_by = f"{spent.saved:,} of {spent.budget:,}, by stopping weak trials early"
    facts = [
        (f"best {metric.title}", figure(best.compared) if best else "–", "of the validation pairs"),
        ("F1", ratio(point.get("f1")), "at the operating point, IoU 0.5"),
        ("score threshold", *_threshold_fact(contents.metrics)),
        ("trials", f"{len(contents.records):,}", ", ".join(f"{n} {STATUS_WORDS[s]}" for s, n in counts.items())),
        ("epochs saved", percent(spent.saved / max(1, spent.budget)), saved_by),
    ]
    return {
        "headline": headline(contents),
        "sentences": further_sentences(contents),
        "notices": contents.notices,
        "most_named": MOST_NAMED,
        "facts": facts,
    }


def _threshold_fact(metrics: dict[str, Any]) -> tuple[str, str]:
    if point := metrics.get("recommended"):
        return f"{point['score_threshold']:.2f}", "to run the best model at"
    return "–", "none can be recommended" if metrics else "to run the best model at"


def _recipe(contents: RunContents) -> dict[str, Any]:
    best, reference = contents.best, contents.reference
    if best is None or best.best is None or best.recipe is None:
        none: dict[str, Any] = dict.fromkeys(("differences", "stages", "by_model", "confirmed"), ())
        return none | {"recipe_chart": None, "best": None, "settings": ""}
    stages = len(best.stages)
    epochs = sum(stage.epochs for stage in best.stages)
    title = (
        f"Trial {best.number} trains {count(stages, 'stage')} in {count(epochs, 'epoch')}; a bar shows which part "
        "learns, grey is frozen, and the curve below how fast"
    )
    return {
        "best": best,
        "recipe_chart": recipe_timeline(best.recipe, title, best.best.epoch),
        "stages": stage_rows(best),
        "settings": whole_settings(best.recipe),
        "by_model": model_rows(contents.records),
        "confirmed": confirmed_rows(contents.confirmed),
        "differences": differences(best.recipe, reference.recipe) if reference and reference.recipe else [],
    }


def _operating_point(contents: RunContents) -> dict[str, Any]:
    metrics, sweep = contents.metrics, contents.sweep
    point = metrics.get("recommended")
    charts: list[Chart | None] = []
    if sweep is not None and point:
        charts = [draw(sweep, point) for draw in (f1_surface, precision_recall, score_curves)]
    return {
        "metrics": metrics,
        "constraint": (point or {}).get("constraint"),
        "why_no_point": operating_point_sentence(metrics) if metrics and not point else None,
        "counted": _counted_at(metrics),
        "point_charts": [chart for chart in charts if chart],
        "classes": class_rows(metrics, sweep) if metrics else [],
    }


def _counted_at(metrics: dict[str, Any]) -> str:
    """The thresholds of all counts, in words."""
    if metrics.get("recommended") or "counted_at" not in metrics:
        return "the operating point"
    return f"score {metrics['counted_at']:.2f} and IoU {IOU_THRESHOLD:g}"


def _images(contents: RunContents) -> dict[str, Any]:
    metrics = contents.metrics
    return {
        "images": read_overlays(contents.overlays),
        "image_count": len(contents.overlays),
        "cameras": metrics.get("cameras"),
        "cameras_said": cameras(metrics),
        "registrations": read_overlays(contents.registrations),
        "augmented": read_overlays(contents.augmented),
        "error_chart": error_split(metrics.get("errors") or {}, _counted_at(metrics)),
        "calibration_chart": calibration_plot(metrics.get("calibration") or {}),
        "pairs": (metrics.get("pairs_by_loss") or [])[:MOST_PAIRS],
        "flagged": metrics.get("flagged"),
        "unread": unread(metrics),
    }


def _search(contents: RunContents) -> dict[str, Any]:
    records, epochs = contents.records, epochs_in_order(contents.records)
    charts = [
        best_over_epochs(epochs),
        learning_curves(records),
        stopped_at_rungs(records, contents.asked),
        worker_timeline(epochs),
    ]
    return {"search_charts": [chart for chart in charts if chart]}


def _parameters(contents: RunContents) -> dict[str, Any]:
    weights = importances(contents.records)
    trials = len(compared(contents.records))
    return {
        "importance_chart": importance_bars(weights),
        "slice_charts": slices(contents.records, list(weights)),
        "compared": trials,
        "weak": trials < FEW_TRIALS,
        "few": FEW_TRIALS,
    }


def _trials(contents: RunContents) -> dict[str, Any]:
    shown = shown_trials(contents.records)
    return {
        "trial_count": len(contents.records),
        "rows": trial_rows(shown, measured=contents.metrics.get("boxes") != 0),
        "details": trial_details(shown),
    }


def _repetition(contents: RunContents) -> dict[str, Any]:
    asked, environment = contents.asked, contents.environment
    flags = {name: value for name, value in asked.items() if name not in ("identity", "command")}
    return {
        "command": asked.get("command"),
        "resume": command_line("resume", _address(contents)),
        "train": contents.train_command,
        "asked": flags,
        "identity": asked.get("identity") or {},
        "environment": environment,
        "faults": list(contents.faults)[:MOST_FAULTS],
        "fault_count": len(contents.faults),
        "notes": contents.notes,
    }


def _address(contents: RunContents) -> str:
    """Where the run is gone on with: in the storage that it was started in, where that is remote."""
    storage, name = (str(contents.asked.get(option)) for option in ("storage", "name"))
    return without_secrets(Remote(storage).at(name).uri) if is_uri(storage) else str(contents.path.resolve())


if __name__ == "__main__":
    app()
