"""A search by the project's own loop, in which the trials report what they are told to and train nothing."""

import hashlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
from rich.console import Console

from results.journal.journal import Journal
from search.cluster.cluster import Resources
from search.console.monitor import Monitor
from search.options import Options
from search.rungs import rungs_of
from search.study import Budget, SearchStudy
from search.tuner import run_trials
from spaces.registry import load_space
from trainable.data.pairs import PairData
from trainable.history import EpochRow
from trainable.recipe import Recipe
from trainable.sample import EMBEDDED

Trial = Callable[..., None]
"""A trainable of Ray Tune: takes the trial's config, and what else `search.tuner` gives it."""

NO_PAIRS = PairData("", ("thing",), (), (), "", ())


@contextmanager
def ray_of(cpus: int) -> Iterator[None]:
    """Ray on this machine with so many CPUs, as far as it knows."""
    import ray  # Only after the search, which tells it how to behave.

    # A worker gets a trial by its value, and does not import the search for it.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()


def run_search(
    run: Path,
    trial: Trial,
    trials: int,
    concurrent: int,
    max_epochs: int,
    grace: int,
    on_step: Callable[[SearchStudy], None] = lambda study: None,
) -> SearchStudy:
    """Searches the space `staged` as `search/run.py` does: Ray Tune, Optuna, ASHA, the journal, and all that follows.

    The console is a terminal that nobody looks at.

    Args:
        run: the run folder, made here.
        trial: runs in the place of the real one.
        trials: how many.
        concurrent: how many at a time.
        max_epochs: the budget of the recipes.
        grace: epochs before ASHA compares.
        on_step: called with the study at each step of Ray's loop.
    """
    run.mkdir(parents=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    asked = ("staged", None, EMBEDDED, trials, max_epochs, grace, str(run.parent), run.name)
    options = Options(*asked, cache_size=0)
    resources = Resources(cpus=1, gpus=0, concurrent=concurrent, limit=concurrent)
    rungs = rungs_of(options.pruning, grace, max_epochs, options.reduction)
    budget = Budget(max_epochs, grace, images=36, seed=options.seed)
    with Path(os.devnull).open("w") as nowhere, closing(Journal(run / "journal.jsonl")) as journal:
        study = SearchStudy(load_space(options.space), budget, journal, rungs, options.sampler)
        console = Console(file=nowhere, force_terminal=True, width=120)
        with patch("search.tuner.tune_trainable", trial), Monitor(options, study, concurrent, console) as monitor:

            def step() -> None:
                monitor.tick()
                on_step(study)

            run_trials(options, resources, study, NO_PAIRS, step)
    return study


def reporting_trial(
    reports: int, pace: Callable[[int], float] = lambda number: 0.0, meeting: Path | None = None, meet: int = 0
) -> Trial:
    """A trainable that reports so many epochs on a timetable and does nothing else.

    `train_loss` holds when the report was due, in seconds since the epoch.

    Args:
        reports: of a trial.
        pace: from a trial's number to the seconds between two of its reports, and between its start and the first.
        meeting: an empty folder; the first `meet` trials start when all of them are there.
        meet: how many.
    """

    def trial(config: dict[str, Any], **others: Any) -> None:
        from ray import tune

        number = config["number"]
        if meeting and number < meet:
            (meeting / str(number)).touch()
            while len(list(meeting.iterdir())) < meet:
                time.sleep(0.01)
        started, seconds, before = time.time(), pace(number), len(config["reported"])
        for epoch in range(before + 1, reports + 1):
            due = started + (epoch - before) * seconds
            time.sleep(max(0.0, due - time.time()))
            made_up = row(epoch, loss_of(config["recipe"], epoch), train_loss=due, final=epoch == reports)
            tune.report({"row": made_up, "epoch": epoch, "val_loss": made_up.val_loss, "trial": number})

    return trial


def row(epoch: int, val_loss: float, **more: Any) -> EpochRow:
    """What a trial reports of an epoch, with all of its fields."""
    fields: dict[str, Any] = dict.fromkeys(("val_loss_ce", "val_loss_bbox", "val_loss_giou", "learning_rate"), 0.5)
    fields |= {"train_loss": 0.5, "precision": 0.25, "recall": 0.5, "f1": 1 / 3, "seconds": float(epoch)}
    fields |= {"epoch": epoch, "stage": 0, "val_loss": val_loss, "node": "here", "pid": os.getpid()}
    return EpochRow(**(fields | more))


def loss_of(recipe: Recipe, epoch: int) -> float:
    """A loss that falls with the epochs, each recipe's to a level of its own."""
    level = int.from_bytes(hashlib.sha256(repr(recipe).encode()).digest()[:4]) / 2**32
    return 1 + level + 1 / epoch
