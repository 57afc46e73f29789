"""What a search leaves behind: tables, the best model and its evaluation, the report."""

import shlex
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from rich.console import Console

from results.best import Best, write_best, write_test
from results.environment import write_environment
from results.journal import TrialRecord, best_trial
from results.measures.metrics import evaluate_checkpoint
from results.measures.operating_point import PointRule
from results.table import write_tables
from search.cluster import Resources, on_trial_resources
from search.inputs import Inputs
from search.live_report import LiveReport
from search.options import Options
from search.outcome import print_no_success, print_not_evaluated, print_outcome
from search.study import SearchStudy
from trainable.data.dataset import padded_size
from trainable.data.difference import PictureError
from trainable.data.pairs import Pair, PairData
from trainable.evaluation import Evaluation
from trainable.model import ModelError, load_processor
from trainable.trial_folder import drop_checkpoints

DONE, NOT_EVALUATED, NO_SUCCESS = 0, 1, 3


def write_tables_of(run: Path, study: SearchStudy) -> None:
    """Writes the tables of all trials so far."""
    write_tables(run, list(study.records.values()))


def write_results(options: Options, study: SearchStudy, inputs: Inputs, resources: Resources, console: Console) -> int:
    """Writes all that is derived from the trials and prints the outcome.

    Returns:
        The exit code: 0; 1 if the best model could not be evaluated; 3 if no trial succeeded.
    """
    run, records = options.run, list(study.records.values())
    write_tables_of(run, study)
    write_environment(run / "environment.json", inputs.pairs.fingerprint, options.seed, asdict(resources))
    for record in study.finished:
        drop_checkpoints(run / "trials" / f"{record.number:04d}")
    report = LiveReport(run, partial(console.print, style="yellow", markup=False, soft_wrap=True))
    left = options.trials - len(study.finished)
    best = best_trial(records)
    if best is None:
        report.write(records)
        print_no_success(options, study, left, console)
        return NO_SUCCESS
    try:
        with console.status("evaluating the best model"):
            written, on_test = _evaluate_best(options, best, inputs, resources)
    except (PictureError, ModelError, OSError, RuntimeError, RayError) as error:  # The trials are safe all the same.
        report.write(records)
        print_not_evaluated(options, best, error, console)
        return NOT_EVALUATED
    report.write(records)
    print_outcome(options, records, best, written, on_test, left, console)
    return DONE


def _evaluate_best(
    options: Options, best: TrialRecord, inputs: Inputs, resources: Resources
) -> tuple[Best, dict[str, Any] | None]:
    """Writes `best/`, evaluated on the validation pairs, and `best/test/` where there is a test set."""

    def evaluate(model: Path, data: PairData, evaluated: tuple[Pair, ...]) -> Evaluation:
        padded = padded_size((*data.train, *data.val), load_processor(inputs.checkpoint))
        device = "cuda" if resources.gpus else "cpu"
        task = partial(evaluate_checkpoint, model.resolve(), evaluated, data.names, padded, resources.cpus, device)
        return on_trial_resources(options, resources, task)

    run, pairs, test = options.run, inputs.pairs, inputs.test
    rule = PointRule(options.min_precision, options.min_recall)
    evaluate_val = partial(evaluate, data=pairs, evaluated=pairs.val)
    command = _train_command(options)
    written = write_best(run, best, pairs, inputs.checkpoint, evaluate_val, command, rule, options.overlays)
    if test is None:
        return written, None
    evaluation = evaluate(run / "best" / "model", test, (*test.train, *test.val))
    return written, write_test(run, test, evaluation, rule, written.metrics["recommended"]["score_threshold"])


def _train_command(options: Options) -> str:
    command = ["python", "trainable/train.py", "--recipe", str(options.run / "best" / "recipe.yaml")]
    given = {
        "--data": options.data,
        "--model": options.model,
        "--subset": options.subset,
        "--group-by": options.group_by,
    }
    for flag, value in given.items():
        if value is not None:
            command += [flag, str(value)]
    return shlex.join(command + (["--skip-bad"] if options.skip_bad else []))
