"""What a person sees while recipes are trained again, after the search."""

import time

from rich.console import Console
from rich.text import Text

from results.formatting import duration
from results.journal.journal import TrialRecord
from results.retrained import CONFIRM
from search.console.progress import SECONDS_BETWEEN_LINES, STYLES
from search.retraining import Retrainings


class RetrainingProgress:
    """A line for each training that has ended; between them one that says how far the others are.

    Args:
        retrainings: what to show.
        console: where to show it. On a terminal the last line changes in place.
    """

    def __init__(self, retrainings: Retrainings, console: Console):
        self.retrainings = retrainings
        self.console = console
        self._started = self._last_line = time.monotonic()
        self._shown = {record.number for record in retrainings.finished}
        self._status = console.status("") if console.is_terminal else None

    def __enter__(self) -> "RetrainingProgress":
        said = "the search is over; its best recipes are trained again"
        self.console.print(f"\n{said}", highlight=False)
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.tick()
        if self._status:
            self._status.stop()

    def tick(self) -> None:
        """Shows what has changed since the last call."""
        for record in self.retrainings.finished:
            if record.number not in self._shown:
                self._shown.add(record.number)
                self.console.print(_line_of(record), highlight=False, soft_wrap=True)
        if self._status:
            self._status.update(self._course())
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.console.print(self._course(), highlight=False, soft_wrap=True)

    def _course(self) -> str:
        ended, left, gone = len(self.retrainings.finished), self.retrainings.left(), time.monotonic() - self._started
        under_way = [record for record in self.retrainings.unfinished if record.recipe and record.history]
        epochs = [f"{name_of(record)}, epoch {record.history[-1].epoch}" for record in under_way]
        return " · ".join([f"{ended}/{ended + left} trained again", f"{duration(gone)} gone", *epochs])


def name_of(record: TrialRecord) -> str:
    """What a training is called."""
    trial, seed = record.parameters["trial"], record.parameters["seed"]
    if record.parameters["purpose"] == CONFIRM:
        return f"trial {trial} with seed {seed}"
    return f"trial {trial} for {record.recipe.epochs if record.recipe else '?'} epochs"


def _line_of(record: TrialRecord) -> Text:
    text = Text(f"{name_of(record):<24} ").append(f"{record.status.lower():<9}", STYLES.get(record.status, ""))
    if record.best:
        text.append(f" epoch {record.history[-1].epoch:>3}  {record.metric.title} {record.compared:.4f}")
        text.append(f"  f1 {record.best.f1:.3f}")
    if record.error:
        text.append(f"  {record.error.splitlines()[0]}", "red")
    return text
