"""A search from its flags to its results, in the order in which things can go wrong: cheap checks first."""

import dataclasses
import gc
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from rich.console import Console
from rich.text import Text

from results.journal.events import JournalError, Reported
from results.journal.journal import Journal
from results.retrained import FOLDER
from search.cluster.head import PAUSED
from search.console.interrupts import INTERRUPTED, Interrupts
from search.inputs import InputError, Inputs, check_checkpoints, checked_inputs
from search.options import Options
from search.run_folder.identity import provenance
from search.run_folder.owner import OwnerError
from search.run_folder.run_folder import (
    RunFolderError,
    check_identity,
    create_run,
    open_journal,
    publish,
    resume_command,
    run_folder,
    update_run,
)
from search.study import Budget, SearchStudy
from search.supervisor import EngineLostError, Line
from search.trials import Trials
from spaces.registry import SpaceError
from trainable.data.faults import DataError, write_report
from trainable.data.notices import NOTICES, write_notices
from trainable.imports import begin_imports
from trainable.metric import METRICS, VAL_LOSS
from trainable.sample import EMBEDDED
from trainable.storage.remote import is_uri
from trainable.text.console import plain_console

if TYPE_CHECKING:
    from search.cluster.capacity import TrialSize
    from search.cluster.cluster import Resources

BAD_INPUT = 2
KEEP_ALL = 10**6
"""More trials than there are."""

IMPORTED_MEANWHILE = (
    *("torch", "transformers", "trainable.detector.loading", "trainable.training.staged_trainer"),
    *("search.console.monitor", "results.model.best"),
)
"""What a search needs of libraries that takes long to import, Ray itself aside."""


class PausedError(RuntimeError):
    """A run that has begun cannot go on for now, such as one whose cluster is gone; the message says why."""


def run_search(options: Options, *, resumed: bool, force: bool, console: Console, line: Line) -> int:
    """Checks everything, searches, writes the results.

    Args:
        options: what was asked.
        resumed: whether the run exists and is gone on with.
        force: go on with it although what it was started with has changed.
        console: where to say how it goes.
        line: to the supervisor.

    Returns:
        The exit code: 0 done, 1 the best model could not be evaluated, 2 the input is wrong and nothing was started, 3
        no trial succeeded, 4 paused since a disk, a storage or the cluster has given out, 130 interrupted.

    Raises:
        EngineLostError: Ray has died on this machine; another process may go on.
    """
    line.tell(restartable=options.address is None)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    errors = plain_console(stderr=True, style="red", soft_wrap=True)
    started = resumed
    try:
        with run_folder(options, resumed) as still_ours:
            inputs = checked_inputs(options, console)
            options = dataclasses.replace(options.with_models(inputs.models), earlier=inputs.earlier)
            # Ray first: while its processes start, the checkpoint is checked.
            with ExitStack() as engine:
                resources = engine.enter_context(_ray(options, resumed, console))
                from search.micro_batch import with_micro_batch_of

                inputs = check_checkpoints(inputs, options, console)
                trial = _checked_memory(options, inputs, resources, resumed)
                options = with_micro_batch_of(options, trial, resources)
                identity = provenance(inputs.pairs.fingerprint, inputs.checkpoints, options.space)
                if not resumed:
                    create_run(options, identity)
                    started = True
                elif force:
                    options = dataclasses.replace(options, forced=True)
                else:
                    check_identity(options, identity)
                with closing(open_journal(options)) as journal:
                    if resumed:
                        update_run(options, identity)
                    line.tell(name=options.name, command=resume_command(options))
                    write_notices(inputs.notices, options.run / NOTICES)
                    publish(options, NOTICES)
                    return _search(options, inputs, resources, engine, trial, journal, still_ours, console, line)
    except DataError as error:
        errors.print(str(error), markup=False)
        # A mistyped path is no reason to make a folder.
        if is_uri(options.data or "") or Path(options.data or "").exists():
            _write_data_report(error, options, errors)
    except (SpaceError, RunFolderError, OwnerError, JournalError, InputError) as error:
        errors.print(str(error), markup=False)
    except (OSError, PausedError, KeyboardInterrupt) as error:
        why = "\ninterrupted" if isinstance(error, KeyboardInterrupt) else _cause(error)
        how = f"go on with:\n{resume_command(options)}" if started else "nothing was started"
        errors.print(f"{why}; {how}", markup=False)
        if isinstance(error, KeyboardInterrupt):
            return INTERRUPTED
        return PAUSED if started else BAD_INPUT
    return BAD_INPUT


def _write_data_report(error: DataError, options: Options, errors: Console) -> None:
    """Writes all faults into the run folder, if that can be written; those that matter most have been printed."""
    try:
        options.run.mkdir(parents=True, exist_ok=True)
        write_report(error.faults, options.run / "data_report.csv")
        publish(options, "data_report.csv")
    except OSError as fault:
        errors.print(f"data_report.csv cannot be written: {_cause(fault)}", markup=False)
    else:
        errors.print(f"all of them: {options.shown('data_report.csv')}", markup=False)


def _cause(error: Exception) -> str:
    """What is the matter, and with which file."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


@contextmanager
def _ray(options: Options, resumed: bool, console: Console) -> Iterator["Resources"]:
    from search.cluster.cluster import ClusterError, connected

    say = partial(console.print, style="yellow", markup=False, soft_wrap=True)
    wait_for_imports = begin_imports(*IMPORTED_MEANWHILE)
    with ExitStack() as stack:
        try:
            with console.status("starting Ray"):
                resources = stack.enter_context(connected(options, say))
        except ClusterError as error:
            raise (PausedError if resumed else InputError)(str(error)) from None
        wait_for_imports()
        yield resources


def _checked_memory(options: Options, inputs: Inputs, resources: "Resources", begun: bool) -> "TrialSize":
    """What decides how much memory a trial of the largest model takes, once this machine is seen to have it.

    A cluster's nodes are asked later.

    Raises:
        InputError, PausedError: it has too little; the message says what fits.
    """
    from search.cluster.capacity import memory_fault, trial_size

    of_run = (options.image_size, inputs.pairs, resources.gpus)
    sizes = [trial_size(checkpoint, *of_run) for checkpoint in inputs.checkpoints]
    trial = max(sizes, key=lambda size: size.needed(size.rule))
    if options.address is None and (fault := memory_fault(trial, resources.concurrent)):
        raise (PausedError if begun else InputError)(f"this machine {fault}")
    return trial


def _search(
    options: Options,
    inputs: Inputs,
    resources: "Resources",
    engine: ExitStack,
    trial: "TrialSize",
    journal: Journal,
    still_ours: Callable[[], None],
    console: Console,
    line: Line,
) -> int:
    from ray.exceptions import RayError
    from ray.tune.error import TuneError

    from search.console.monitor import Monitor
    from search.finish import write_results, write_tables_of
    from search.rungs import rungs_of
    from search.tuner import SearchPausedError, run_trials

    started = line.before.searching_since or time.monotonic()
    line.tell(searching_since=started)
    replayed = len(journal.events)
    rungs = rungs_of(
        options.pruning, options.grace, options.max_epochs, options.reduction, METRICS[options.metric].more_is_better
    )
    images = len(inputs.pairs.train)
    same = (options.seed, options.micro_batch, options.image_size, options.align, options.metric)
    budget = Budget(options.max_epochs, options.grace, images, *same)
    how = (options.sampler, options.forced, options.bounded, options.numbered, options.portfolio)
    study = SearchStudy(
        inputs.space, budget, journal, rungs, *how, earlier=options.earlier or (), patience=options.patience_epochs
    )
    left_out = _bad_nodes(options, resources, inputs, trial, bool(replayed), console)

    def end(code: int) -> None:
        line.tell(outcome=code)

    interrupts = Interrupts(resume_command(options), end)
    interrupts.listen()

    def time_left() -> float | None:
        return None if options.time_budget is None else options.time_budget - (time.monotonic() - started)

    try:
        _print_header(options, inputs, resources, study.tried, console)
        with interrupts:

            def run(trials: Trials, keep: int, show: Callable[[], None], within: str = "") -> None:
                def step() -> None:
                    still_ours()
                    if not line.told.epoch and any(isinstance(event, Reported) for event in journal.events[replayed:]):
                        line.tell(epoch=True)
                    show()
                    interrupts.check()

                asked = dataclasses.replace(options, keep=keep)
                how = (monitor.say, time_left, left_out, end, within)
                run_trials(asked, resources, trials, inputs.pairs, step, *how)

            with Monitor(options, study, resources.concurrent, console) as monitor:
                run(study, options.keep, monitor.tick)
            left = study.left(options.trials)
            if not left and (verdict := study.over(options.trials)):
                console.print(f"ended after {len(study.records)} of {options.trials} trials: {verdict}", soft_wrap=True)
            if not left and (options.confirm or options.final_epochs):
                left = _train_again(options, study, run, console)
        # An object of Ray's that is freed while another thread ends Ray ends this process (Ray 2.60): the collector is
        # to find none of Tune's then.
        gc.collect()
        # Of a cluster a worker evaluates; here Ray is needed no more, and takes its time to end.
        with nullcontext() if options.address else _beside(engine.close):
            return write_results(options, study, left, inputs, resources, console)
    except KeyboardInterrupt:
        write_tables_of(options, study)
        so_far = f"{study.tried} of {options.trials} trials"
        console.print(f"interrupted after {so_far}; all of it is kept. Go on with:")
        console.print(resume_command(options), soft_wrap=True)
        return INTERRUPTED
    except (SearchPausedError, OwnerError, OSError, RayError, TuneError) as fault:
        _crash_if_alone(options, fault)
        so_far = f"{study.tried} of {options.trials} trials, of which nothing is lost"
        said = f"paused after {so_far}: {_cause(fault)}. When that is mended, go on with:"
        console.print(said, style="red", soft_wrap=True)
        console.print(resume_command(options), soft_wrap=True)
        return PAUSED


def _train_again(options: Options, study: SearchStudy, run: Callable[..., None], console: Console) -> int:
    """Trains the best recipes again, as far as is asked for; returns how many trainings are left to do.

    Args:
        options: what was asked.
        study: the search, which is over.
        run: runs trials: which, how many keep their weights, what to show meanwhile, and the folder they lie in.
        console: where to show how it goes.
    """
    from search.console.retraining import RetrainingProgress
    from search.retraining import Retrainings

    with closing(open_journal(options, FOLDER)) as journal:
        retrainings = Retrainings(journal, list(study.records.values()), options)
        if retrainings.left():
            with RetrainingProgress(retrainings, console) as progress:
                # Few, and the model of any may be the one that is taken.
                run(retrainings, KEEP_ALL, progress.tick, FOLDER)
        return retrainings.left()


@contextmanager
def _beside(work: Callable[[], object]) -> Iterator[None]:
    """Has another thread do something meanwhile, and waits for it."""
    thread = threading.Thread(target=work, name=_beside.__name__)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _bad_nodes(
    options: Options, resources: "Resources", inputs: Inputs, trial: "TrialSize", begun: bool, console: Console
) -> Collection[str]:
    """The ids of the nodes that cannot train and are kept out.

    Args:
        begun: whether the run has trials already, so that it is paused where no node can train.

    Raises:
        InputError, PausedError: no node can train; the message says why, of each.
        EngineLostError: Ray has died on this machine.
    """
    from ray.exceptions import RayError

    from search.cluster.cluster import ClusterError
    from search.cluster.preflight import preflight

    say = partial(console.print, style="yellow", markup=False, soft_wrap=True)
    try:
        with console.status("asking the nodes whether they can train"):
            return preflight(options, resources, inputs.pairs, trial, say)
    except ClusterError as error:
        raise (PausedError if begun else InputError)(str(error)) from None
    except RayError as error:
        _crash_if_alone(options, error)
        raise PausedError(f"Ray was lost: {error}") from None


def _crash_if_alone(options: Options, fault: Exception) -> None:
    """Lets another process go on where Ray has died on this machine; a cluster may be gone for good.

    Raises:
        EngineLostError: so it is.
    """
    from ray.exceptions import RayError
    from ray.tune.error import TuneError

    if options.address is None and isinstance(fault, (RayError, TuneError, ConnectionError)):
        raise EngineLostError(f"{type(fault).__name__}: {fault}") from fault


def _print_header(options: Options, inputs: Inputs, resources: "Resources", tried: int, console: Console) -> None:
    pairs = inputs.pairs
    at_a_time = f"{resources.concurrent} at a time" if resources.concurrent else "as soon as a node has room for one"
    lines = {
        "space": f"{options.space}: {inputs.space.description}",
        "data": f"{'the sample data set' if options.data is None else pairs.location}: {len(pairs.train)} training and "
        f"{len(pairs.val)} validation pairs of {', '.join(pairs.names)}",
        "model": ", or ".join(
            ("the embedded checkpoint" if model == EMBEDDED else model)
            + (", with a new class head for these classes" if model in inputs.new_class_heads else "")
            for model in inputs.models
        ),
        "search": f"{options.trials} trials of at most {options.max_epochs} epochs, {at_a_time}"
        + ("" if options.metric == VAL_LOSS else f", compared by {METRICS[options.metric].title}")
        + ("" if resources.gpus else ", without a GPU: every trial trains on the CPU")
        + (f"; {tried} tried already" if tried else ""),
        "run": options.shown(),
    }
    for what, line in lines.items():
        console.print(Text.assemble((f"{what:<7}", "bold"), line), soft_wrap=True)
    console.print()
