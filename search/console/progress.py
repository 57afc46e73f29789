"""What a person sees while a search runs."""

import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from results.formatting import duration
from results.journal.events import Ended, Event, Paused, Promoted
from results.journal.journal import TrialRecord, best_trial, metric_of
from search.console.fitting import FittingTable
from search.console.forecast import expected_seconds
from search.study import SearchStudy

SECONDS_BETWEEN_LINES = 20.0
"""Seconds between two lines of progress where the output is no terminal."""

SECONDS_BETWEEN_PANELS = 0.25
SHARE = 0.05
"""Share of the driver's time that the panel may take: one that took 0.1 seconds is drawn again after 2."""

BAR_WIDTH = 24
"""Columns; with the text beside it the bar fits into 80."""

STYLES = {"COMPLETED": "green", "PRUNED": "yellow", "FAILED": "red", "RUNNING": "cyan", "PAUSED": "blue"}


class Progress:
    """A live panel on a terminal; elsewhere a line for each trial that ended, and one every 20 seconds.

    Args:
        study: what to show.
        trials: how many the search will have.
        concurrent: how many run at a time.
        console: where to show it.
    """

    def __init__(self, study: SearchStudy, trials: int, concurrent: int, console: Console):
        self.study = study
        self.trials = trials
        self.concurrent = concurrent
        self.console = console
        self.started = time.monotonic()
        self._epochs_before = _epochs(study)
        self._paused = {record.number for record in study.paused}
        self._last_line = self.started
        self._next_panel = self.started
        self._live = Live(console=console, auto_refresh=False, get_renderable=self.panel, transient=True)

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def tick(self, new: Sequence[Event]) -> None:
        """Shows what has changed since the last call; a panel only when its time has come.

        Args:
            new: the journal's events since then.
        """
        for event in new:
            record = self.study.records[event.trial]
            waited = event.trial in self._paused
            if isinstance(event, Paused):
                self._paused.add(event.trial)
                self._print(_line_of(record, "PAUSED"))
            elif isinstance(event, Promoted) and waited:
                self._paused.discard(event.trial)
                self._print(_line_of(record, "PROMOTED"))
            elif isinstance(event, Ended) and not waited:
                self._print(_line_of(record, record.status))
        now = time.monotonic()
        if self.console.is_terminal and now >= self._next_panel:
            self._live.refresh()
            drawn = time.monotonic()
            self._next_panel = drawn + max(SECONDS_BETWEEN_PANELS, (drawn - now) / SHARE)
        elif not self.console.is_terminal and now - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._print(self._line())

    def _print(self, line: Text) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)

    def panel(self) -> RenderableType:
        """The panel: how far the search is, what is best, what runs."""
        return Group(self._bar(), self._counts(), self._best(), Text(), self._running())

    def _bar(self) -> RenderableType:
        """The bar with the pace beside it; the pace alone where both do not fit."""
        pace = self._pace()
        if BAR_WIDTH + 1 + pace.cell_len > self.console.width:
            return pace
        bar = Table.grid(padding=(0, 1))
        bar.add_row(ProgressBar(self.trials, self.study.tried, width=BAR_WIDTH), pace)
        return bar

    def _line(self) -> Text:
        """The panel in a line, for output that is no terminal."""
        text = Text(" · ").join([self._pace(), self._counts()])
        if best := best_trial(self.study.records.values()):
            text.append(f" · best {best.metric.title} {best.compared:.4f} (trial {best.number})")
        return text

    def _pace(self) -> Text:
        text = Text(f"{self.study.tried}/{self.trials} trials · {duration(time.monotonic() - self.started)} gone")
        if (left := self.seconds_left()) is not None:
            text.append(f" · about {duration(left)} left")
        return text

    def _counts(self) -> Text:
        counts = Counter(record.status for record in self.study.records.values())
        shown = [
            Text(f"{counts[status]} {status.lower()}", STYLES[status] if counts[status] else "dim")
            for status in ("COMPLETED", *(["PAUSED"] if self.study.rungs.promote else []), "PRUNED", "FAILED")
        ]
        return Text(" · ").join(shown)

    def seconds_left(self) -> float | None:
        """Estimated from the pace so far and the epochs that are still to come; None before a trial has ended."""
        done = _epochs(self.study) - self._epochs_before
        if not done or not self.study.tried:
            return None
        return max(self._epochs_left(), 0) * (time.monotonic() - self.started) / done

    def _epochs_left(self) -> float:
        """Foretold from the rungs; where trials stop there, how far each gets is not: then from those that ended."""
        budget, rungs = self.study.budget, self.study.rungs
        if rungs.promote:
            expected = expected_seconds([1.0], self.trials, budget.max_epochs, budget.grace, rungs.reduction)
            return expected - _epochs(self.study)
        epochs = [len(record.history) for record in self.study.finished]
        expected = sum(epochs) / len(epochs)
        under_way = sum(min(len(record.history), expected) for record in self.study.unfinished)
        return (self.trials - len(epochs)) * expected - under_way

    def _best(self) -> RenderableType:
        best, reference = best_trial(self.study.records.values()), self.study.records.get(0)
        if best is None:
            return Text("no epoch has been evaluated yet", "dim")
        table = FittingTable(("",) * 4, padding=(0, 2))
        for title, record, style in (("best so far", best, "bold green"), ("reference", reference, "")):
            if record and (row := record.best):
                where = f"trial {record.number}, epoch {row.epoch}"
                table.add(title, Text(f"{row.metric.title} {row.compared:.4f}", style), f"f1 {row.f1:.3f}", where)
        return table

    def _running(self) -> RenderableType:
        if not self.study.unfinished:
            return Text("nothing runs", "dim")
        headers = ("trial", "stage", "epoch", metric_of(self.study.records.values()).title, "f1")
        table = FittingTable(headers, frozenset({"stage"}), padding=(0, 2))
        for record in self.study.unfinished:
            stages, last = record.stages, record.history[-1] if record.history else None
            stage = last.stage if last else 0
            total = sum(stage.epochs for stage in stages)
            table.add(
                f"{record.number}{' (reference)' if record.reference else ''}",
                Text(f"{stage + 1}/{len(stages)} {stages[stage].name}"),
                f"{last.epoch if last else 0}/{total}",
                f"{last.compared:.4f}" if last else "starting",
                f"{last.f1:.3f}" if last else "",
            )
        return table


def _line_of(record: TrialRecord, what: str) -> Text:
    """What has become of a trial, and where it stands."""
    text = Text(f"trial {record.number:>3} ").append(f"{what.lower():<9}", STYLES.get(what, ""))
    if record.best:
        text.append(f" epoch {record.history[-1].epoch:>3}  {record.metric.title} {record.compared:.4f}")
        text.append(f"  f1 {record.best.f1:.3f}")
    if record.reference:
        text.append("  the reference recipe", "dim")
    if record.error:
        text.append(f"  {record.error.splitlines()[0]}", "red")
    return text


def _epochs(study: SearchStudy) -> int:
    return sum(len(record.history) for record in study.records.values())
