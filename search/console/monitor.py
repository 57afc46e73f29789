"""What follows a search while it goes on: the console, TensorBoard, the study's database and the report."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from rich.console import Console

from results.journal.events import Ended, Paused, Reported
from results.tensorboard_log.scalars import rebuild
from search.console.live_report import LiveReport
from search.console.progress import Progress
from search.options import Options
from search.study import SearchStudy
from search.study_database import StudyDatabase


class Monitor:
    """Brings everything that follows the search up to date at each `tick`, and says what `trainable` warns of here.

    Args:
        options: say where the run folder is.
        study: the search's memory.
        concurrent: trials at a time.
        console: where progress is shown.
    """

    def __init__(self, options: Options, study: SearchStudy, concurrent: int, console: Console):
        self.study = study
        self.progress = Progress(study, options.trials, concurrent, console)
        self.mirror = StudyDatabase(options.run / "optuna.db")
        self._print = partial(console.print, style="yellow", markup=False, soft_wrap=True)
        self._said: set[str] = set()
        self.report = LiveReport(options.run, self.say)
        self._stack = ExitStack()
        self.board = rebuild(options.run / "tensorboard", list(study.records.values()))
        self._seen = len(study.journal.events)
        self._unreported = True

    def __enter__(self) -> "Monitor":
        self._stack.callback(lambda: self.report.write(self.study.records.values()))
        self._stack.enter_context(self.progress)
        self._stack.enter_context(_said_by(self.say))
        self._stack.callback(self._derive, "tensorboard/", self.board.close)
        self._stack.callback(self._derive, "optuna.db", partial(self.mirror.sync, self.study.optuna))
        self._stack.callback(self.tick)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def say(self, note: str) -> None:
        """Prints a line, once however often it is said."""
        if note not in self._said:
            self._said.add(note)
            self._print(note)

    def tick(self) -> None:
        """Takes in what has happened since the last call."""
        events = self.study.journal.events
        new, self._seen = events[self._seen :], len(events)
        for event in new:
            record = self.study.records[event.trial]
            if isinstance(event, Reported):
                self._derive("tensorboard/", partial(self.board.reported, record, event.metrics, event.time))
            elif isinstance(event, Paused):
                self._derive("tensorboard/", partial(self.board.paused, record))
            elif isinstance(event, Ended):
                self._derive("tensorboard/", partial(self.board.ended, record))
                self._derive("optuna.db", partial(self.mirror.sync, self.study.optuna))
        self._unreported |= bool(new)
        if self._unreported and self.report.follow(self.study.records.values()):
            self._unreported = False
        self.progress.tick(new)

    def _derive(self, what: str, write: Callable[[], Any]) -> None:
        """Writes something that can be made again; what goes wrong with it is said once and costs no trial."""
        try:
            write()
        except Exception as error:  # Whatever it is, it must not end the search.
            self.say(f"{what} cannot be written: {type(error).__name__}: {error}")


@contextmanager
def _said_by(say: Callable[[str], None]) -> Iterator[None]:
    """Hands on what `trainable` warns of in this process, as of a damaged file in the cache."""
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: say(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("trainable")
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
