"""What a search leaves behind: tables, the best model and its evaluation, and the last words on the console."""

import shlex
import shutil
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from results.best import write_best, write_test
from results.environment import write_environment
from results.journal import TrialRecord, best_trial
from results.metrics import evaluate_checkpoint
from results.operating_point import PointRule
from results.table import write_tables
from search.live_report import LiveReport
from search.options import Options
from search.run_folder import resume_command
from search.study import SearchStudy
from search.tuner import Resources, on_trial_resources
from trainable.data.dataset import padded_size
from trainable.data.pairs import Pair, PairData
from trainable.evaluation import Evaluation
from trainable.model import load_processor
from trainable.recipe import PARTS

WRITTEN = {
    "report": "report.html",
    "table": "results.csv",
    "best recipe": "best/recipe.yaml",
    "best model": "best/model",
    "metrics": "best/metrics.json",
    "sweep": "best/sweep.csv",
    "overlays": "best/overlays",
    "tensorboard": "tensorboard",
}
"""What the last lines point to, relative to the run folder."""

SHOWN = 5
"""Trials of the table that is printed at the end."""


def write_tables_of(run: Path, study: SearchStudy) -> None:
    """Writes the tables of all trials so far."""
    write_tables(run, list(study.records.values()))


def write_results(
    options: Options,
    study: SearchStudy,
    pairs: PairData,
    test: PairData | None,
    checkpoint: str,
    resources: Resources,
    console: Console,
) -> int:
    """Writes all that is derived from the trials and prints the outcome; returns the exit code, 3 if none succeeded."""
    run, records = options.run, list(study.records.values())
    write_tables_of(run, study)
    write_environment(run / "environment.json", pairs.fingerprint, options.seed, asdict(resources))
    for record in study.finished:
        for folder in (run / "trials" / f"{record.number:04d}").glob("stage-*"):
            shutil.rmtree(folder)
    report = LiveReport(run, partial(console.print, style="yellow", markup=False, soft_wrap=True))
    best = best_trial(records)
    if best is None:
        report.write(records)
        if study.finished:
            console.print("no trial succeeded; why each failed is in results.md and in trials/*/error.txt", style="red")
        console.print(f"results  {run}", soft_wrap=True, highlight=False)
        _print_left(options, study, console)
        return 3

    def evaluate(model: Path, data: PairData, evaluated: tuple[Pair, ...]) -> Evaluation:
        padded = padded_size((*data.train, *data.val), load_processor(checkpoint))
        task = partial(evaluate_checkpoint, model.resolve(), evaluated, data.names, padded, resources.cpus)
        return on_trial_resources(options, resources, task)

    rule, on_test = PointRule(options.min_precision, options.min_recall), None
    with console.status("evaluating the best model"):
        evaluate_val = partial(evaluate, data=pairs, evaluated=pairs.val)
        written = write_best(
            run, best, pairs, checkpoint, evaluate_val, _train_command(options), rule, options.overlays
        )
        if test:
            evaluation = evaluate(run / "best" / "model", test, (*test.train, *test.val))
            on_test = write_test(run, test, evaluation, rule, written.metrics["recommended"]["score_threshold"])
    report.write(records)
    _print_outcome(options, records, best, written.metrics, on_test, console)
    if not written.agrees:
        console.print(
            f"the reloaded model's val_loss is {written.metrics['val_loss']:.6f}, not the trial's: "
            "do not trust best/model and report this as a bug",
            style="bold red",
        )
    _print_left(options, study, console)
    return 0


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


def _print_outcome(
    options: Options,
    records: list[TrialRecord],
    best: TrialRecord,
    metrics: dict[str, Any],
    on_test: dict[str, Any] | None,
    console: Console,
) -> None:
    console.print()
    console.print(_ranking(records, best), highlight=False)
    counts = Counter(record.status for record in records)
    if counts["FAILED"]:
        console.print(f"{counts['FAILED']} trial(s) failed; the table's column `error` says why", style="red")
    for title, record in (("best recipe", best), ("the reference", records[0])):
        console.print(f"\n[bold]{title}[/] (trial {record.number})", highlight=False)
        console.print(_stages(record), highlight=False)
    _print_metrics(metrics, on_test, console)
    for what, path in (WRITTEN | ({"test": "best/test/metrics.json"} if on_test else {})).items():
        if not (options.run / path).exists():  # without overlays
            continue
        console.print(f"{what:<12}{options.run / path}", soft_wrap=True, highlight=False)


def _print_metrics(metrics: dict[str, Any], on_test: dict[str, Any] | None, console: Console) -> None:
    console.print(
        f"\n[bold]best model[/] mAP {_figure(metrics['mAP'])}, mAP50 {_figure(metrics['mAP50'])}; run it at score >= "
        f"{metrics['recommended']['score_threshold']:.2f}: {_point(metrics)} (IoU 0.5)",
        highlight=False,
    )
    if metrics["recommended"]["constraint_kept"] is False:
        console.print(metrics["recommended"]["constraint"], style="yellow", highlight=False)
    if on_test:
        console.print(
            f"[bold]on the test set[/] mAP {_figure(on_test['mAP'])}, mAP50 {_figure(on_test['mAP50'])}; "
            f"there: {_point(on_test)}, {on_test['pairs']} pairs",
            highlight=False,
        )
    console.print()


def _point(metrics: dict[str, Any]) -> str:
    """Precision, recall and F1 with its interval, since a small set says little."""
    point = metrics["recommended"]
    low, high = point["interval"]["f1"]
    return (
        f"precision {point['precision']:.3f}, recall {point['recall']:.3f}, F1 {point['f1']:.3f} "
        f"({low:.2f} to {high:.2f} in 95 % of resamples)"
    )


def _print_left(options: Options, study: SearchStudy, console: Console) -> None:
    if (left := options.trials - len(study.finished)) > 0:
        console.print(
            f"stopped with {left} of {options.trials} trial(s) still to do; go on with: {resume_command(options.run)}",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )


def _ranking(records: list[TrialRecord], best: TrialRecord) -> Table:
    """The best trials, and the reference where it is not among them."""
    ranked = sorted((r for r in records if r.status != "FAILED" and r.best), key=_loss)
    shown = ranked[:SHOWN] + [record for record in ranked[SHOWN:] if record.reference]
    table = Table(title=f"best {min(SHOWN, len(ranked))} of {len(records)} trials", title_justify="left", box=None)
    for header in ("trial", "status", "val_loss", "f1", "precision", "recall", "best epoch"):
        table.add_column(header, justify="left" if header == "status" else "right", no_wrap=True)
    for record in shown:
        row = record.best or {}
        table.add_row(
            f"{record.number}{' (reference)' if record.reference else ''}",
            record.status.lower(),
            f"{row['val_loss']:.4f}",
            *(f"{row[name]:.3f}" for name in ("f1", "precision", "recall")),
            f"{row['epoch']} of {record.history[-1]['epoch']}",
            style="bold" if record is best else None,
        )
    return table


def _stages(record: TrialRecord) -> Table:
    """A recipe's stages and what each reached; the batch, the decay and the rest below."""
    table = Table(box=None, padding=(0, 2), header_style="dim")
    for header in ("", "trains", "epochs", "rate", "cycles", "val_loss"):
        table.add_column(header, justify="left" if header in ("", "trains") else "right")
    for index, stage in enumerate(record.recipe["stages"]):
        losses = [row["val_loss"] for row in record.history if row["stage"] == index]
        table.add_row(
            f"stage {index + 1}",
            "everything" if len(stage["trainable"]) == len(PARTS) else ", ".join(stage["trainable"]),
            f"{stage['epochs']}",
            f"{stage['learning_rate']:.2g}",
            f"{stage['restart_cycles']}",
            f"{min(losses):.4f}" if losses else "not reached",
        )
    recipe = record.recipe
    table.caption = (
        f"batch {recipe['batch_size']} x {recipe['accumulation_steps']}, weight decay {recipe['weight_decay']:.2g}, "
        f"backbone rate x {recipe['backbone_learning_rate_factor']:.2g}, warm-up {recipe['warmup_share']:.0%}"
    )
    table.caption_justify = "left"
    return table


def _loss(record: TrialRecord) -> float:
    return record.best["val_loss"] if record.best else float("inf")


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"
