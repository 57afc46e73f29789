"""Ray Tune at work: rounds of its Tuner until every trial has ended."""

import contextlib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune

from search.cluster.cluster import Resources, gcs_address, nodes_with_room
from search.cluster.head import Head, leave_paused
from search.cluster.hold import hold_node
from search.cluster.nodes import Nodes
from search.cluster.watchdog import Watchdog, logs_of_this_machine
from search.console.forecast import Forecast
from search.options import Options
from search.run_folder.run_folder import resume_command
from search.scheduler import RungScheduler
from search.searcher import StudySearcher
from search.trials import Trials
from trainable.alignment import OFF
from trainable.data.image_cache import open_image_cache
from trainable.data.pairs import PairData
from trainable.detector.loading import load_processor
from trainable.recipe import Input
from trainable.reuse.config import ReuseConfig
from trainable.sample import checkpoint_of
from trainable.storage.mirror import Mirror
from trainable.training.progress import PROGRESS, ProgressError, read_progress
from trainable.tune_trainable import tune_trainable


class SearchPausedError(RuntimeError):
    """The search cannot go on for now, and can be resumed later; the message says why."""


IDLE_ROUNDS = 3
"""Rounds of the Tuner without a new epoch or an end after which the search gives up."""


def run_trials(
    options: Options,
    resources: Resources,
    study: Trials,
    pairs: PairData,
    on_step: Callable[[], None],
    say: Callable[[str], None] = lambda note: None,
    time_left: Callable[[], float | None] = lambda: None,
    left_out: Collection[str] = (),
    end: Callable[[int], object] = lambda code: None,
    within: str = "",
) -> None:
    """Runs trials until `options.trials` have ended, and those that wait at rungs with them, or the time is over.

    A trial that is unfinished when Ray is through, for whatever reason, is sent round again.

    Args:
        options: what was asked; says where the run folder is.
        resources: from `search.cluster.cluster.connect`.
        study: the search's memory.
        pairs: the data set.
        on_step: called several times a second; ends the search where it raises KeyboardInterrupt.
        say: called with what a trial wants the user to know, such as why it makes no use of a cache.
        time_left: seconds that the search still has, None for no limit.
        left_out: ids of the nodes that are kept out already.
        end: called with the exit code where the process has to end without coming back.
        within: folder of the run folder in which they lie.

    Raises:
        SearchPausedError: the disk, the storage or the cluster's head has given out, or no node can train.
    """
    folder = options.run.resolve() / within / "trials"
    mirror = options.mirror
    nodes = Nodes(partial(nodes_with_room, resources, left_out), partial(hold_node, resources), say)
    of_run = (options.trials, mirror, nodes)
    searcher = StudySearcher(study, folder, options.keep, say, None, *of_run)
    reuse = ReuseConfig(
        cache_bytes=options.cache_bytes,
        images=options.cache_pictures,
        frozen_layers=options.cache_layers,
        checkpoint_seconds=options.checkpoint_every,
        checkpoint_epochs=study.pauses_at,
    )
    forecast = Forecast(options, resources.concurrent, say)
    idle = 0
    address = gcs_address(options)
    leave = partial(leave_paused, str(address), resume_command(options), end)
    with _differences_ready(options, pairs, reuse), Head(address, leave) as head:
        watchdog = Watchdog(say, None if options.address else logs_of_this_machine)

        def step() -> None:
            if head.lost:
                raise SearchPausedError(head.lost)
            forecast.tick(study.reference, searcher.memory)
            watchdog.tick(searcher.begun)
            on_step()

        while study.left(options.trials) and idle < IDLE_ROUNDS:
            seconds = time_left()
            if seconds is not None and seconds <= 0:
                return
            events = len(study.journal.events)
            try:
                _tuner(options, resources, searcher, pairs, reuse, step, seconds, within).fit()
            except KeyboardInterrupt:
                _take_in_last_epochs(study, folder, mirror, say)
                raise
            if searcher.pause:
                raise SearchPausedError(searcher.pause)
            _take_in_last_epochs(study, folder, mirror, say)
            on_step()
            idle = 0 if len(study.journal.events) > events else idle + 1
            searcher = StudySearcher(study, folder, options.keep, say, searcher.crashes, *of_run)
        if not study.left(options.trials):
            searcher.close()
            on_step()


@contextlib.contextmanager
def _differences_ready(options: Options, pairs: PairData, reuse: ReuseConfig) -> Iterator[None]:
    """Has this machine's store of differences filled and checked, and keeps it from being dropped between trials.

    Here, since all cores are still free and what there is to say reaches the user. On a cluster, where this machine may
    train nothing, the first trial of each node fills its own.
    """
    if options.address is None and reuse.image_bytes:
        everything = (*pairs.train, *pairs.val)
        for model in options.models:
            # An image that broke since the check is named by the trials that meet it.
            with contextlib.suppress(ValueError):
                processor = load_processor(checkpoint_of(model), options.image_size, Input(options.align or OFF))
                if store := open_image_cache(everything, processor, reuse.image_bytes):
                    for pair in everything:
                        store[pair]
    yield


def _take_in_last_epochs(study: Trials, folder: Path, mirror: Mirror | None, say: Callable[[str], None]) -> None:
    """Reports the epochs that trials finished while Ray stopped them; the weights on disk are of these epochs.

    Of a trial whose progress is damaged, what the journal holds stands: it is trained again from there.
    """
    for record in study.unfinished:
        trial = folder / f"{record.number:04d}"
        if mirror:
            mirror.pull(trial / PROGRESS)
        try:
            progress = read_progress(trial)
        except ProgressError as error:
            say(f"trial {record.number}: {error}; what it has reported stands, and it is trained again")
            continue
        for row in progress.history if progress else ():
            study.report(record.number, row)


def _tuner(
    options: Options,
    resources: Resources,
    searcher: StudySearcher,
    pairs: PairData,
    reuse: ReuseConfig,
    on_step: Callable[[], None],
    seconds: float | None,
    within: str,
) -> tune.Tuner:
    trainable = tune.with_resources(
        tune.with_parameters(
            tune_trainable,
            pairs=pairs,
            model=options.models[0],
            cpus=resources.cpus,
            gpus=resources.gpus,
            reuse=reuse,
            run=options.remote.at(within) if options.remote and within else options.remote,
        ),
        {"cpu": resources.cpus, "gpu": resources.gpus},
    )
    folder = options.run.resolve() / "tune"
    return tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=RungScheduler(searcher),
            num_samples=-1,  # The searcher knows when it is over: a trial may be handed out several times.
            max_concurrent_trials=resources.limit,
            reuse_actors=options.reuse_workers,
            time_budget_s=seconds,
        ),
        run_config=tune.RunConfig(
            name=f"round-{len(list(folder.glob('round-*'))) + 1:03d}",
            storage_path=str(folder),
            verbose=0,
            callbacks=[_Ticker(on_step, searcher)],
            stop=_PauseStopper(searcher),
        ),
    )


class _PauseStopper(tune.Stopper):
    """Ends Ray's loop when the search has to pause."""

    def __init__(self, searcher: StudySearcher):
        self.searcher = searcher

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.searcher.pause is not None

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles the stopper into a file that is never read.
        return {}


class _Ticker(tune.Callback):
    """Calls back at each step of Ray's loop, and tells the searcher whether a trial is alive.

    The searcher itself cannot know: there are ends of which Ray does not tell it.
    """

    def __init__(self, on_step: Callable[[], None], searcher: StudySearcher):
        self.on_step = on_step
        self.searcher = searcher

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.searcher.alive = any(not trial.is_finished() for trial in trials)
        self.on_step()

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles callbacks into a file that is never read.
        return {}
