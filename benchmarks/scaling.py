"""Measures how a search grows: with its workers, and with its trials.

    python benchmarks/scaling.py [--part workers]

Two parts:

- tables: a journal of many long trials, made up; the time and memory of reading it, of writing all tables of the run
  and of writing its report, in a process of their own, one after the other.
- workers: searches whose trials sleep for as long as an epoch takes on the sample data set, which is measured first,
  and report it. Efficiency is what the trials slept, divided by the workers and by the wall time from when all workers
  were there until the last trial has ended. The trials are equally long, and each worker gets equally many.

Linux only, for the memory.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import optuna
from goodput import everything, sample_trials
from made_up_search import ray_of, reporting_trial, row, run_search

from results.journal.events import Asked, Ended, Event, Reported, to_dict
from results.journal.journal import read_journal, trial_records
from results.report import write_report
from results.table import write_tables
from search.study import Budget, fit_recipe
from spaces.registry import load_space

PARTS = ("tables", "workers")
WORKERS = (1, 2, 4, 8)
TABLE_WORKERS, TABLE_EPOCH_SECONDS = 8, 1.25
"""Workers of the made-up journal, and seconds of its epochs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=PARTS, help="only this one")
    parser.add_argument("--table-trials", type=int, default=10_000, help="in the journal")
    parser.add_argument("--table-epochs", type=int, default=100, help="of each of them")
    parser.add_argument("--trials", type=int, default=3, help="that sleep, for each worker")
    parser.add_argument("--epochs", type=int, default=4, help="of each of them, at least 3")
    arguments = parser.parse_args()
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        if arguments.part != "workers":
            figures += tables(Path(folder), arguments.table_trials, arguments.table_epochs)
        if arguments.part != "tables":
            figures += workers(Path(folder), arguments.trials, arguments.epochs)
    print("\n".join(figures))


def tables(run: Path, trials: int, epochs: int) -> list[str]:
    """Times what is derived from a long journal; gives the lines to end on."""
    journal = run / "journal.jsonl"
    with journal.open("w") as file:
        file.writelines(json.dumps(to_dict(event)) + "\n" for event in made_up_events(trials, epochs))
    print(f"a journal of {trials:,} trials x {epochs} epochs, {journal.stat().st_size / 1e6:.0f} MB:")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        steps = pool.apply(timed_steps, (run,))
    print("                 seconds   peak memory")
    for name, seconds, megabytes in steps:
        print(f"{name:<15} {seconds:8.1f} {megabytes:10.0f} MB")
    return [f"seconds to {name}: {seconds:.1f}, peak memory {megabytes:.0f} MB" for name, seconds, megabytes in steps]


def timed_steps(run: Path) -> list[tuple[str, float, float]]:
    """Each step's name, its seconds, and the process's peak memory in MB by its end."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    results: list[tuple[str, float, float]] = []

    def timed(name: str, step: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = step()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
        results.append((name, time.perf_counter() - started, peak))
        return result

    records = timed("read the journal", lambda: trial_records(read_journal(run / "journal.jsonl")))
    timed("write all tables", lambda: write_tables(run, records))
    timed("write the report", lambda: write_report(run, records))
    return results


def made_up_events(trials: int, epochs: int) -> Iterator[Event]:
    """The events of a search without pruning, trial after trial; the recipes are of the space `staged`."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, budget = load_space("staged"), Budget(epochs, grace=max(2, epochs // 6), images=36, seed=0)
    study, numbers = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), random.Random(0)
    for number in range(trials):
        trial = study.ask()
        recipe = fit_recipe(space.build(trial, epochs), budget)
        worker = number % TABLE_WORKERS
        start = 1.7e9 + number // TABLE_WORKERS * epochs * TABLE_EPOCH_SECONDS
        yield Asked(number, trial.params, recipe, number == 0, start)
        stages = [index for index, stage in enumerate(recipe.stages) for _ in range(stage.epochs)]
        for epoch in range(1, epochs + 1):
            seconds = epoch * TABLE_EPOCH_SECONDS + numbers.random()
            noise = {
                name: numbers.random()
                for name in ("train_loss", "val_loss_ce", "val_loss_bbox", "val_loss_giou", "precision", "recall", "f1")
            }
            place = {"node": f"worker-{worker}", "pid": 1000 + worker, "stage": stages[min(epoch, len(stages)) - 1]}
            loss = 1 / epoch + numbers.random()
            metrics = row(epoch, loss, **noise, **place, seconds=seconds, final=epoch == epochs)
            yield Reported(number, metrics, start + seconds)
        yield Ended(number, "COMPLETED", None, start + seconds)


def workers(folder: Path, trials_each: int, epochs: int) -> list[str]:
    """Times searches with ever more workers; gives the lines to end on."""
    seconds = epoch_seconds()
    print(f"an epoch of the sample data set that trains everything takes {seconds:.2f} s; trials sleep for {epochs}:")
    print("workers   trials   ideal   wall time   efficiency")
    figures = []
    with ray_of(max(WORKERS)):
        for count in WORKERS:
            wall = searching_seconds(folder / f"{count}-workers", count, trials_each * count, epochs, seconds)
            ideal = trials_each * epochs * seconds
            print(f"{count:7} {trials_each * count:8} {ideal:5.1f} s {wall:9.1f} s {ideal / wall:11.1%}")
            figures.append(f"efficiency with {count} worker(s): {ideal / wall:.1%}")
    return figures


def epoch_seconds() -> float:
    """Seconds of an epoch that trains everything, its evaluation included: the mean of all epochs but the first."""
    with sample_trials() as trials:
        history, _ = trials.run(everything(epochs=4))
    return mean(after.seconds - before.seconds for before, after in pairwise(history))


def searching_seconds(folder: Path, workers: int, trials: int, epochs: int, seconds: float) -> float:
    """Seconds from when all workers are there until the last trial has ended."""
    meeting = folder / "meeting"
    meeting.mkdir(parents=True)
    trial = reporting_trial(epochs, lambda number: seconds, meeting, workers)
    # ASHA compares at the end only: trials of one length are what efficiency can be told of.
    study = run_search(folder / "run", trial, trials, workers, max_epochs=epochs, grace=epochs)
    started = min(study.records[number].history[0].train_loss - seconds for number in range(workers))
    return max(record.ended or 0.0 for record in study.finished) - started


if __name__ == "__main__":
    main()
