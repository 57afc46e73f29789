"""`report.html` while a search goes on: written again and again, seldom enough not to hold the search up."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from results.journal.journal import TrialRecord
from results.report import write_report
from trainable.text.command_line import command_line

SECONDS_BETWEEN = 30.0
SHARE = 0.05
"""Share of the driver's time that the report may take: one that took 3 seconds is written again after 60."""


class LiveReport:
    """Keeps the report of a run in step with the search.

    A report that cannot be made never ends a search.

    Args:
        run: the run folder.
        say: told why a report cannot be made.
    """

    def __init__(self, run: Path, say: Callable[[str], None]):
        self.run = run
        self.say = say
        self._next = 0.0

    def follow(self, records: Iterable[TrialRecord]) -> bool:
        """Writes the report of a search that goes on, if its time has come; says whether it did."""
        started = time.monotonic()
        if started < self._next:
            return False
        self.write(records, live=True)
        ended = time.monotonic()
        self._next = ended + max(SECONDS_BETWEEN, (ended - started) / SHARE)
        return True

    def write(self, records: Iterable[TrialRecord], live: bool = False) -> None:
        """Writes the report now."""
        try:
            write_report(self.run, list(records), live)
        except Exception as error:  # Whatever it is, it must not lose a search.
            message = f"report.html cannot be made: {type(error).__name__}: {error}".splitlines()[0]
            self.say(f"{message}; try again later: {command_line('report', str(self.run))}")
