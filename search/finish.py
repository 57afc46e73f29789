"""What a search leaves behind: tables, the best model and its evaluation, the report."""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from rich.console import Console

from results.environment import write_environment
from results.journal.journal import TrialRecord
from results.measures.metrics import evaluate_checkpoint
from results.measures.operating_point import PointRule
from results.model.best import Best, write_best, write_test
from results.model.trial_model import train_command
from results.retrained import FOLDER, Chosen, chosen, confirmed, confirmed_table, read_retrained
from results.selection import FILE as SELECTION
from results.selection import selection
from results.table import write_table, write_tables
from search.cluster.cluster import Resources, on_trial_resources
from search.console.live_report import LiveReport
from search.console.outcome import print_no_success, print_not_evaluated, print_outcome
from search.inputs import Inputs
from search.options import Options
from search.run_folder.identity import code_version
from search.run_folder.run_folder import publish
from search.study import SearchStudy
from trainable.compute import usable_device
from trainable.data.dataset import padded_size
from trainable.data.difference import ImageError
from trainable.data.pair import Pair
from trainable.data.pairs import PairData
from trainable.data.source import on_this_machine
from trainable.detector.loading import ModelError, load_processor
from trainable.training.evaluation import Evaluation
from trainable.training.trial_folder import drop_checkpoints

DONE, NOT_EVALUATED, NO_SUCCESS = 0, 1, 3


DERIVED = (
    *("results.csv", "results.parquet", "results.json", "results.md", "history.parquet", "environment.json"),
    *("report.html", "optuna.db", "tensorboard", "best", "journal.jsonl", SELECTION),
    *(f"{FOLDER}/{name}" for name in ("results.csv", "history.parquet", "confirmed.csv", "journal.jsonl")),
)
"""What a search leaves in a remote storage beside the trials, so that a copy of it is as good as a local run."""


def write_tables_of(options: Options, study: SearchStudy) -> None:
    """Writes the tables of all trials so far; in a remote storage, with all else that there is by now."""
    write_tables(options.run, list(study.records.values()))
    publish(options, *DERIVED)


def write_results(
    options: Options, study: SearchStudy, left: int, inputs: Inputs, resources: Resources, console: Console
) -> int:
    """Writes all that is derived from the trials and prints the outcome.

    Args:
        options: what was asked; says where the run folder is.
        study: the search's memory.
        left: trainings still to do.
        inputs: what was learnt from.
        resources: what there is to evaluate with.
        console: where to print.

    Returns:
        The exit code: 0; 1 if the best model could not be evaluated; 3 if no trial succeeded.
    """
    run, records = options.run, list(study.records.values())
    write_tables(run, records)
    environment = run / "environment.json"
    write_environment(environment, inputs.pairs.fingerprint, options.seed, asdict(resources), code_version())
    _drop_leftovers(options, study)
    report = LiveReport(run, partial(console.print, style="yellow", markup=False, soft_wrap=True))
    retrained = read_retrained(run)
    _write_retrained(options, records, retrained)
    choice = chosen(records, retrained)
    if choice is None:
        report.write(records)
        publish(options, *DERIVED)
        print_no_success(options, study, left, console)
        return NO_SUCCESS
    try:
        with console.status("evaluating the best model"):
            if options.mirror:
                options.mirror.pull(run / choice.folder)
            written, on_test = _evaluate_best(options, choice, inputs, resources)
    except (ImageError, ModelError, OSError, RuntimeError, RayError) as error:  # The trials are safe all the same.
        report.write(records)
        publish(options, *DERIVED)
        print_not_evaluated(options, choice.record, error, console)
        return NOT_EVALUATED
    luck = None if inputs.test else selection(run, records, options.mirror)
    if luck:
        luck.write(run)
    else:
        (run / SELECTION).unlink(missing_ok=True)
    report.write(records)
    publish(options, *DERIVED)
    print_outcome(options, records, retrained, choice, written, on_test, luck, left, console)
    return DONE


def _write_retrained(options: Options, records: Sequence[TrialRecord], retrained: Sequence[TrialRecord]) -> None:
    """Writes the tables of what was trained again, where anything was."""
    if retrained:
        folder = options.run / FOLDER
        write_tables(folder, retrained)
        if found := confirmed(records, retrained):
            write_table(confirmed_table(found), folder / "confirmed.csv")


def _drop_leftovers(options: Options, study: SearchStudy) -> None:
    """Drops what trials wrote while they were being stopped, and the stages that an earlier version kept for others."""
    trials, numbers = options.run / "trials", {f"{record.number:04d}" for record in study.finished}
    if options.mirror:
        files = options.mirror.at(trials).remote.files()
        numbers &= {name.partition("/")[0] for name in files if "/stage-" in name}
    for number in sorted(numbers):
        drop_checkpoints(trials / number, options.mirror)
    shutil.rmtree(options.run / "shared", ignore_errors=True)
    if options.mirror:
        options.mirror.drop(options.run / "shared")


def _evaluate_best(
    options: Options, best: Chosen, inputs: Inputs, resources: Resources
) -> tuple[Best, dict[str, Any] | None]:
    """Writes `best/`, evaluated on the validation pairs, and `best/test/` where there is a test set."""

    def evaluate(model: Path, data: PairData, evaluated: tuple[Pair, ...]) -> Evaluation:
        padded = padded_size((*data.train, *data.val), load_processor(model))
        task = partial(
            _evaluate_on_this_machine,
            data=replace(data, val=evaluated),
            names=data.names,
            skip_bad=data.skip_bad,
            padded=padded,
            cpus=resources.cpus,
            gpus=resources.gpus,
        )
        if options.address and options.remote:  # The model lies in a folder that only this machine sees.
            files = {file.name: file.read_bytes() for file in model.iterdir()}
            return on_trial_resources(options, resources, partial(_on_copy, ray.put(files), task))
        return on_trial_resources(options, resources, partial(task, model.resolve()))

    run, pairs, test = options.run, inputs.pairs, inputs.test
    rule = PointRule(options.min_precision, options.min_recall)
    evaluate_val = partial(evaluate, data=pairs, evaluated=pairs.val)
    # Whoever trains it again has a copy of the run folder, where that is in a remote storage.
    path = str((Path(options.name) if options.remote else run) / "best" / "recipe.yaml")
    command = train_command(path, asdict(options) | {"cpus_per_trial": resources.cpus})
    assert best.record.recipe is not None, "it was trained"
    checkpoint = inputs.checkpoint_of(best.record.recipe)
    written = write_best(run, best, pairs, checkpoint, evaluate_val, command, rule, options.overlays)
    if test is None:
        return written, None
    evaluation = evaluate(run / "best" / "model", test, (*test.train, *test.val))
    return written, write_test(run, test, evaluation, rule, written.metrics["counted_at"])


def _evaluate_on_this_machine(model: Path, data: PairData, gpus: float, **how: Any) -> Evaluation:
    """The model on the validation pairs, wherever on this machine they lie, with the device that trials get."""
    return evaluate_checkpoint(model, on_this_machine(data).val, device=usable_device(gpus), **how)


def _on_copy(files: ray.ObjectRef, task: Callable[[Path], Evaluation]) -> Evaluation:
    """The task with a folder of these files, by their names, on whatever machine it runs."""
    with tempfile.TemporaryDirectory() as folder:
        for name, data in ray.get(files).items():
            (Path(folder) / name).write_bytes(data)
        return task(Path(folder))
