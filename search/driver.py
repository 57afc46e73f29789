"""A search from its flags to its results, in the order in which things can go wrong: cheap checks first."""

import logging
import signal
import time
from contextlib import closing
from pathlib import Path

import optuna
from rich.console import Console

from results.journal import Journal, JournalError
from search.options import Options
from search.run_folder import RunFolderError, check_identity, create_run, identity_of, refuse_taken_name, resume_command
from search.study import Budget, SearchStudy
from spaces.registry import Space, SpaceError, check_space, load_space
from trainable.data.faults import DataError, write_report
from trainable.data.pairs import PairData, read_pairs
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.sample.data_set import sample_data_set

DONE, BAD_INPUT, NO_SUCCESS, INTERRUPTED = 0, 2, 3, 130


def conduct(options: Options, *, resumed: bool, force: bool, console: Console) -> int:
    """Checks everything, searches, writes the results; returns the exit code."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    errors = Console(stderr=True, style="red", highlight=False, soft_wrap=True)
    try:
        if not resumed:
            refuse_taken_name(options)
        pairs = _checked_data(options, console)
        test = _checked_test(options, pairs, console)
        space = load_space(options.space)
        check_space(space, options.max_epochs)
        checkpoint = _checked_model(options, pairs)
        identity = identity_of(pairs.fingerprint, checkpoint, options.space)
        if resumed and not force:
            check_identity(options.run, identity)
        if not resumed:
            create_run(options, identity)
        with closing(Journal(options.run / "journal.jsonl")) as journal:
            return _search(options, space, pairs, test, checkpoint, journal, console)
    except DataError as error:
        options.run.mkdir(parents=True, exist_ok=True)
        write_report(error.faults, options.run / "data_report.csv")
        errors.print(str(error), markup=False)
        errors.print(f"all of them: {options.run / 'data_report.csv'}", markup=False)
    except (SpaceError, RunFolderError, JournalError, InputError) as error:
        errors.print(str(error), markup=False)
    except KeyboardInterrupt:
        errors.print("\ninterrupted; nothing was started", markup=False)
        return INTERRUPTED
    return BAD_INPUT


class InputError(ValueError):
    """Something else that the user gave cannot be used."""


def _checked_data(options: Options, console: Console) -> PairData:
    if options.data is None:
        with console.status("making the sample data set (once)"):
            location = sample_data_set()
    else:
        location = Path(options.data)
    with console.status(f"checking {location}"):
        pairs = read_pairs(
            location, skip_bad=options.skip_bad, subset=options.subset, group_by=options.group_by
        )  # fmt: skip
    if pairs.left_out:
        options.run.mkdir(parents=True, exist_ok=True)
        write_report(pairs.left_out, options.run / "data_report.csv")
    return pairs


def _checked_test(options: Options, pairs: PairData, console: Console) -> PairData | None:
    """The test set, if there is one: of the same classes, and none of its pairs among those that are searched with."""
    if options.test is None:
        return None
    with console.status(f"checking {options.test}"):
        test = read_pairs(Path(options.test), skip_bad=options.skip_bad, subset=options.subset)
    if test.names != pairs.names:
        raise InputError(
            f"--test {options.test}: its classes must be those of the data, {', '.join(pairs.names)}, in this order, "
            f"got {', '.join(test.names)}; name them in classes.txt or data.yaml"
        )
    seen = {(pair.before.resolve(), pair.after.resolve()) for pair in (*pairs.train, *pairs.val)}
    if both := [p.id for p in (*test.train, *test.val) if (p.before.resolve(), p.after.resolve()) in seen]:
        raise InputError(
            f"--test {options.test}: {len(both)} of its pairs are in the data too, the first is {both[0]}; "
            "a test set holds pairs that the search has not seen"
        )
    if test.left_out:
        options.run.mkdir(parents=True, exist_ok=True)
        report = options.run / "test_report.csv"
        write_report(test.left_out, report)
        console.print(f"--test: {len(test.left_out)} fault(s) left out, see {report}", style="yellow", soft_wrap=True)
    return test


def _checked_model(options: Options, pairs: PairData) -> str:
    """The checkpoint, loaded once so that what is wrong with it is said now."""
    import transformers

    from trainable.model import ModelError, load_model, load_processor

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    checkpoint = checkpoint_of(options.model)
    try:
        load_processor(checkpoint)
        load_model(checkpoint, pairs.names)
    except ModelError as error:
        raise InputError(str(error)) from None
    return checkpoint


def _search(
    options: Options,
    space: Space,
    pairs: PairData,
    test: PairData | None,
    checkpoint: str,
    journal: Journal,
    console: Console,
) -> int:
    import ray

    from search.finish import write_results, write_tables_of
    from search.monitor import Monitor
    from search.scheduler import FairASHA
    from search.tuner import ClusterError, connect, run_trials

    started = time.monotonic()
    scheduler = FairASHA(options.grace, options.max_epochs, options.reduction)
    budget = Budget(options.max_epochs, options.grace, len(pairs.train), options.seed)
    study = SearchStudy(space, budget, journal, options.sampler, scheduler.replay)
    try:
        with console.status("starting Ray"):
            resources = connect(options)
    except ClusterError as error:
        raise InputError(str(error)) from None
    # A batch system's or a cloud's polite end is to us what Ctrl-C is; Ray's own handler would end us without a word.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def time_left() -> float | None:
        return None if options.time_budget is None else options.time_budget - (time.monotonic() - started)

    try:
        _print_header(options, space, pairs, resources.gpus, resources.concurrent, len(study.finished), console)
        with Monitor(options, study, resources.concurrent, console) as monitor:
            run_trials(options, resources, study, scheduler, pairs, monitor.tick, time_left)
        return write_results(options, study, pairs, test, checkpoint, resources, console)
    except KeyboardInterrupt:
        write_tables_of(options.run, study)
        console.print(
            f"interrupted after {len(study.finished)} of {options.trials} trials; all of it is kept. Go on with:",
            highlight=False,
        )
        console.print(resume_command(options.run), soft_wrap=True, highlight=False)
        return INTERRUPTED
    finally:
        ray.shutdown()


def _print_header(
    options: Options, space: Space, pairs: PairData, gpus: float, concurrent: int, finished: int, console: Console
) -> None:
    model = "the embedded checkpoint" if options.model == EMBEDDED else options.model
    data = "the sample data set" if options.data is None else options.data
    console.print(f"[bold]space[/]  {options.space}: {space.description}", highlight=False)
    console.print(
        f"[bold]data[/]   {data}: {len(pairs.train)} training and {len(pairs.val)} validation pairs of "
        f"{', '.join(pairs.names)}",
        highlight=False,
    )
    if pairs.left_out:
        files = len({fault.file for fault in pairs.left_out})
        console.print(
            f"       {files} faulty file(s) left out, see {options.run / 'data_report.csv'}", style="yellow"
        )  # fmt: skip
    console.print(f"[bold]model[/]  {model}", highlight=False)
    console.print(
        f"[bold]search[/] {options.trials} trials of at most {options.max_epochs} epochs, {concurrent} at a time"
        + (f", {finished} finished already" if finished else ""),
        highlight=False,
    )
    if not gpus:
        console.print("       no GPU: every trial trains on the CPU", highlight=False)
    console.print(f"[bold]run[/]    {options.run}\n", highlight=False, soft_wrap=True)
