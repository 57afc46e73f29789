"""The one place that talks to Ray: resources, the Tuner, and rounds of it until every trial has ended."""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

# Read by Ray when it is imported: no usage statistics over the network, no result files beside the journal, workers
# that stay where they were started, time for a stopped trial's thread to end before its process is used again, and
# Ctrl-C left to the search (Ray would end a round without a word, and the next one would begin).
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS", "0")
os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "600")
os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "3600")
# A failed report's missing val_loss is no reason to warn; what matters is in the journal.
os.environ.setdefault("TUNE_WARN_THRESHOLD_S", "30")

import ray
from ray import tune

from search.options import Options
from search.scheduler import FairASHA
from search.searcher import StudySearcher
from search.study import SearchStudy
from trainable.data.pairs import PairData
from trainable.data.store import open_store
from trainable.model import load_processor
from trainable.sample import checkpoint_of
from trainable.tune_trainable import tune_trainable

Result = TypeVar("Result")

IDLE_ROUNDS = 3
"""Rounds of the Tuner without a new epoch or an end after which the search gives up."""


class ClusterError(RuntimeError):
    """Ray cannot be reached, or has not what a trial needs; the message says what to do."""


@dataclass(frozen=True)
class Resources:
    """What one trial gets, and how many run at a time."""

    cpus: int
    gpus: float
    concurrent: int


def connect(options: Options) -> Resources:
    """Starts Ray here, or joins the cluster at `--address`, and works out how many trials fit.

    Raises:
        ClusterError: there is no such cluster, or not one trial fits.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(
            address=options.address or "local",
            include_dashboard=None if options.address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"Ray at {options.address or 'this machine'} cannot be used: {error}") from None
    total = ray.cluster_resources()
    gpus = options.gpus_per_trial if options.gpus_per_trial is not None else min(1.0, total.get("GPU", 0.0))
    fit = int(total.get("CPU", 0) // options.cpus_per_trial)
    if gpus:
        whole_gpus = int(total.get("GPU", 0.0))
        fit = min(fit, whole_gpus * int(1 / gpus))  # A trial does not straddle two GPUs.
    if fit < 1:
        raise ClusterError(
            f"a trial needs {options.cpus_per_trial} CPU(s) and {gpus:g} GPU(s), but Ray has "
            f"{total.get('CPU', 0):g} and {total.get('GPU', 0):g} in all; lower --cpus-per-trial or --gpus-per-trial"
        )
    return Resources(options.cpus_per_trial, gpus, min(fit, options.max_concurrent or fit))


def run_trials(
    options: Options,
    resources: Resources,
    study: SearchStudy,
    scheduler: FairASHA,
    pairs: PairData,
    on_step: Callable[[], None],
    time_left: Callable[[], float | None] = lambda: None,
) -> None:
    """Runs trials until `options.trials` have ended or the time is over.

    A trial whose process died without a message is unfinished when Ray is through; it is sent round again.

    Args:
        options: what was asked; says where the run folder is.
        resources: from `connect`.
        study: the search's memory.
        scheduler: already told of the journal.
        pairs: the data set.
        on_step: called several times a second.
        time_left: seconds that the search still has, None for no limit.
    """
    searcher = StudySearcher(study, scheduler, options.run.resolve() / "trials")
    idle = 0
    with _differences_ready(options, pairs):
        while (left := options.trials - len(study.finished)) > 0 and idle < IDLE_ROUNDS:
            seconds = time_left()
            if seconds is not None and seconds <= 0:
                return
            events = len(study.journal.events)
            _tuner(options, resources, searcher, scheduler, pairs, on_step, left, seconds).fit()
            _take_in_last_epochs(study, searcher.folder)
            on_step()
            idle = 0 if len(study.journal.events) > events else idle + 1
            searcher = StudySearcher(study, scheduler, searcher.folder, searcher.deaths)


@contextlib.contextmanager
def _differences_ready(options: Options, pairs: PairData) -> Iterator[None]:
    """Has this machine's store of differences filled and checked, and keeps it from being dropped between trials.

    Here, since all cores are still free and what there is to say reaches the user. On a cluster, where this machine may
    train nothing, the first trial of each node fills its own.
    """
    if options.address is None and options.cache_bytes:
        everything = (*pairs.train, *pairs.val)
        # A picture that broke since the check is named by the trials that meet it.
        with contextlib.suppress(ValueError):
            if store := open_store(everything, load_processor(checkpoint_of(options.model)), options.cache_bytes):
                for pair in everything:
                    store[pair]
    yield


def _take_in_last_epochs(study: SearchStudy, folder: Path) -> None:
    """Reports the epochs that trials finished while Ray stopped them; the weights on disk are of these epochs."""
    for record in study.unfinished:
        progress = folder / f"{record.number:04d}" / "progress.json"
        if progress.exists():
            for row in json.loads(progress.read_text())["history"]:
                study.report(record.number, row)


def _tuner(
    options: Options,
    resources: Resources,
    searcher: StudySearcher,
    scheduler: FairASHA,
    pairs: PairData,
    on_step: Callable[[], None],
    trials: int,
    seconds: float | None,
) -> tune.Tuner:
    trainable = tune.with_resources(
        tune.with_parameters(
            tune_trainable,
            pairs=pairs,
            checkpoint=checkpoint_of(options.model),
            cpus=resources.cpus,
            gpus=resources.gpus,
            cache_bytes=options.cache_bytes,
        ),
        {"cpu": resources.cpus, "gpu": resources.gpus},
    )
    folder = options.run.resolve() / "tune"
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=trials,
            max_concurrent_trials=resources.concurrent,
            reuse_actors=True,
            time_budget_s=seconds,
        ),
        run_config=tune.RunConfig(
            name=f"round-{len(list(folder.glob('round-*'))) + 1:03d}",
            storage_path=str(folder),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=3),
            callbacks=[_Ticker(on_step)],
        ),
    )


class _Ticker(tune.Callback):
    """Calls back at each step of Ray's loop."""

    def __init__(self, on_step: Callable[[], None]):
        self.on_step = on_step

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.on_step()

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles callbacks into a file that is never read.
        return {}


def on_trial_resources(options: Options, resources: Resources, task: Callable[[], Result]) -> Result:
    """Runs `task` on what a trial gets: here, or on a worker where the search runs on a cluster."""
    if options.address is None:
        return task()
    return ray.get(ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(task).remote())
