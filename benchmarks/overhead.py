"""Measures what a search costs beside the training.

    python benchmarks/overhead.py [--part driver --trials 1000]

Four parts:

- driver: trials that report three times and do nothing else, two at a time, through the search's own loop with all that
  follows it, a terminal among it. Against it the least that any search on Ray Tune takes: the same trials without
  searcher, scheduler and records.
- reports: eight trials at a time that report on a timetable, together as often as asked for, and then as fast as they
  can. A report is late by the time from when it was due until it is in the journal.
- asks: what a long search takes of its driver's core and memory for asking for trials and taking in their epochs alone.
- goodput: two trials on the sample data set in one warm process with one thread; the share of their wall time that is
  forward, backward and optimizer step.

Linux only, for the memory of the driver.
"""

import argparse
import os
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import optuna
from goodput import goodput
from made_up_search import loss_of, ray_of, reporting_trial, row, run_search
from stopwatch import Stopwatch, print_shares

from results.journal.journal import Journal
from results.tensorboard_log.scalars import TensorBoardLog
from search.console.live_report import LiveReport
from search.console.progress import Progress
from search.rungs import Promotion
from search.searcher import StudySearcher
from search.study import Budget, SearchStudy
from search.study_database import StudyDatabase
from spaces.registry import load_space
from trainable.history import EpochRow

PARTS = ("driver", "reports", "asks", "goodput")
REPORTS, MAX_EPOCHS = 3, 24
"""What a trial that does nothing reports, and the most epochs of a search; its recipe has more epochs, so that what is
sampled is what a real search samples."""
WORKERS = 8
"""Workers that report on a timetable."""
MARKS = (10, 100, 300, 1000, 3000, 10_000)
"""Ended trials at which the driver is looked at."""
ASK_MARKS = (100, 500, 1000, 2000, 5000, 10_000)
"""Asks at which the last 50 are looked at."""
CPUS = 2
"""Trials that do nothing, at a time."""
ASK = "drawing recipes (Optuna)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, help="only this one")
    parser.add_argument("--trials", type=int, default=1000, help="that do nothing")
    parser.add_argument("--plain-trials", type=int, default=200, help="that do nothing under Ray Tune alone")
    parser.add_argument("--rate", type=float, default=50.0, help="reports a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="of reporting at that rate")
    parser.add_argument("--asks", type=int, default=5000, help="trials that are asked for")
    parser.add_argument("--ask-epochs", type=int, default=100, help="of a trial of these that is completed")
    parser.add_argument("--epochs", type=int, default=12, help="of each of the goodput's trials, at least 3")
    arguments = parser.parse_args()
    figures = []
    for part in [arguments.part] if arguments.part else PARTS:
        with tempfile.TemporaryDirectory() as folder:
            if part == "driver":
                figures += driver(Path(folder), arguments.trials, arguments.plain_trials)
            elif part == "reports":
                figures += reports(Path(folder), arguments.rate, arguments.seconds)
            elif part == "asks":
                figures += asks(Path(folder), arguments.asks, arguments.ask_epochs)
            else:
                figures += goodput(arguments.epochs)
    print("\n".join(figures))


def driver(folder: Path, trials: int, plain_trials: int) -> list[str]:
    """Trials that do nothing; gives the lines to end on."""
    with ray_of(CPUS):
        plain = plain_milliseconds(folder / "plain", plain_trials)
    watch, moments = watched_driver(), [Moment.now(0)]
    marks = [*(mark for mark in MARKS if mark < trials), trials]

    def look(study: SearchStudy) -> None:
        ended = len(study.finished)
        if marks and ended >= marks[0]:
            marks[:] = [mark for mark in marks if mark > ended]
            moments.append(Moment.now(ended, watch.seconds[ASK]))

    with ray_of(CPUS):
        started = time.perf_counter()
        trial = reporting_trial(REPORTS)
        run_search(folder / "run", trial, trials, CPUS, MAX_EPOCHS, grace=REPORTS, on_step=look)
        whole = time.perf_counter() - started
    print(f"{trials} trials that do nothing but report {REPORTS} times, {CPUS} at a time:")
    print_shares(watch.seconds, whole, "Ray Tune and all else")
    print("trials ended   ms a trial   of it drawing   driver's memory")
    for before, after in pairwise(moments):
        milliseconds, drawing = (1000 * value / (after.ended - before.ended) for value in after.since(before))
        print(f"{after.ended:12} {milliseconds:12.0f} {drawing:15.0f} {after.megabytes:14.0f} MB")
    ours, drawing = 1000 * whole / trials, 1000 * watch.seconds[ASK] / trials
    return [
        f"ms a trial: {ours:.0f}, {ours - drawing:.0f} without drawing recipes; {plain:.0f} in plain Ray Tune",
        f"ratio a trial ours/plain Ray Tune: {ours / plain:.2f}x",
    ]


@dataclass(frozen=True)
class Moment:
    """What the driver had taken when so many trials had ended."""

    ended: int
    time: float
    drawing: float
    """Seconds spent on drawing recipes."""
    megabytes: float
    """Resident memory."""

    @classmethod
    def now(cls, ended: int, drawing: float = 0.0) -> "Moment":
        """This moment."""
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(ended, time.perf_counter(), drawing, pages * os.sysconf("SC_PAGE_SIZE") / 1e6)

    def since(self, before: "Moment") -> tuple[float, float]:
        """Seconds since another moment, and those of them that went into drawing recipes."""
        return self.time - before.time, self.drawing - before.drawing


def plain_milliseconds(folder: Path, trials: int) -> float:
    """Milliseconds that Ray Tune takes for a trial where nothing is sampled, compared or kept."""
    from ray import tune

    trial = reporting_trial(REPORTS)

    def plain(config: dict[str, Any]) -> None:
        trial({"number": 0, "recipe": {}})

    started = time.perf_counter()
    tune.Tuner(
        tune.with_resources(plain, {"cpu": 1}),
        tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=CPUS, reuse_actors=True),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    ).fit()
    return 1000 * (time.perf_counter() - started) / trials


def watched_driver() -> Stopwatch:
    """A stopwatch on the parts of the driver."""
    import ray

    watch = Stopwatch()
    watch.watch(ASK, SearchStudy, "ask")
    watch.watch("waiting for a worker", ray, "wait")
    watch.watch("journal", Journal, "append")
    watch.watch("searcher, study and ASHA", StudySearcher, "goes_on", "on_trial_result", "on_trial_complete")
    watch.watch("searcher, study and ASHA", SearchStudy, "report", "pause", "end")
    watch.watch("tensorboard/", TensorBoardLog, "reported", "ended")
    watch.watch("optuna.db", StudyDatabase, "sync")
    watch.watch("report.html", LiveReport, "follow", "write")
    watch.watch("console", Progress, "tick")
    return watch


def reports(folder: Path, rate: float, seconds: float) -> list[str]:
    """Trials that report `rate` times a second together, then as often as they can; gives the lines to end on."""
    wanted, meeting = round(rate * seconds / WORKERS), folder / "meeting"
    meeting.mkdir()
    trial = reporting_trial(wanted, lambda number: WORKERS / rate if number < WORKERS else 0.0, meeting, WORKERS)
    with ray_of(WORKERS):
        study = run_search(folder / "run", trial, 2 * WORKERS, WORKERS, max_epochs=wanted, grace=wanted)
    paced = sorted((row.train_loss or 0.0, at) for row, at in reported(study, 0, WORKERS))
    late = [1000 * (at - due) for due, at in paced]
    first, last, half = paced[0][0] - WORKERS / rate, paced[-1][0], len(paced) // 2
    handled = sum(at <= last for _, at in paced) / (last - first)
    moments = [at for _, at in reported(study, WORKERS, 2 * WORKERS)]
    fast = len(moments) / (max(moments) - min(moments))
    return [
        f"reports late by {median(late[:half]):.0f} ms in the median of the first half, by "
        f"{median(late[half:]):.0f} ms of the second, by {max(late):.0f} ms at most",
        f"reports a second: {handled:.1f} while {rate:g} were due, {fast:.0f} as fast as {WORKERS} trials can",
    ]


def asks(folder: Path, trials: int, epochs: int) -> list[str]:
    """Asks for trials and reports for them, one completed of three, the others pruned; gives the lines to end on."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, budget = load_space("staged"), Budget(epochs, grace=max(2, epochs // 6), images=36, seed=0)
    figures, seconds = [], []
    with closing(Journal(folder / "journal.jsonl")) as journal:
        study = SearchStudy(space, budget, journal, Promotion(budget.grace, epochs, reduction=3))
        print("trials asked for   ms an ask, median of 50   CPU seconds in all   memory")
        for asked in range(1, trials + 1):
            started = time.perf_counter()
            record = study.ask()
            seconds.append(time.perf_counter() - started)
            last = epochs if asked % 3 == 0 else budget.grace
            for epoch in range(1, last + 1):
                study.report(record.number, row(epoch, loss_of(record.recipe, epoch), final=epoch == epochs))
            study.end(record.number, "COMPLETED" if last == epochs else "PRUNED")
            if asked in ASK_MARKS or asked == trials:
                milliseconds, memory = 1000 * median(seconds[-50:]), Moment.now(asked).megabytes
                print(f"{asked:16,} {milliseconds:25.1f} {time.process_time():20.0f} {memory:8.0f} MB")
                figures.append(f"ms an ask after {asked} trials: {milliseconds:.1f}")
    return figures


def reported(study: SearchStudy, first: int, end: int) -> list[tuple[EpochRow, float]]:
    """The reports of trials `first` to `end`, and when each was in the journal."""
    records = [study.records[number] for number in range(first, end)]
    return [pair for record in records for pair in zip(record.history, record.reported, strict=True)]


if __name__ == "__main__":
    main()
