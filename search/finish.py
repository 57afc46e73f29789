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

from results.best import write_best
from results.environment import write_environment
from results.evaluate import evaluate_checkpoint
from results.journal import TrialRecord, best_trial
from results.table import write_tables
from search.options import Options
from search.run_folder import resume_command
from search.study import SearchStudy
from search.tuner import Resources, on_trial_resources
from trainable.data.dataset import padded_size
from trainable.data.pairs import PairData
from trainable.evaluation import Evaluation
from trainable.model import load_processor
from trainable.recipe import PARTS

WRITTEN = {
    "table": "results.csv",
    "best recipe": "best/recipe.yaml",
    "best model": "best/model",
    "metrics": "best/metrics.json",
    "sweep": "best/sweep.csv",
    "tensorboard": "tensorboard",
}
"""What the last lines point to, relative to the run folder."""

SHOWN = 5
"""Trials of the table that is printed at the end."""


def write_tables_of(run: Path, study: SearchStudy) -> None:
    """Writes the tables of all trials so far."""
    write_tables(run, list(study.records.values()))


def write_results(
    options: Options, study: SearchStudy, pairs: PairData, checkpoint: str, resources: Resources, console: Console
) -> int:
    """Writes all that is derived from the trials and prints the outcome; returns the exit code, 3 if none succeeded."""
    run, records = options.run, list(study.records.values())
    write_tables_of(run, study)
    write_environment(run / "environment.json", pairs.fingerprint, options.seed, asdict(resources))
    for record in study.finished:
        for folder in (run / "trials" / f"{record.number:04d}").glob("stage-*"):
            shutil.rmtree(folder)
    best = best_trial(records)
    if best is None:
        console.print("no trial succeeded; why each failed is in results.md and in trials/*/error.txt", style="red")
        console.print(f"results  {run}", soft_wrap=True, highlight=False)
        return 3
    height_and_width = padded_size((*pairs.train, *pairs.val), load_processor(checkpoint))

    def evaluate(model: Path) -> Evaluation:
        task = partial(evaluate_checkpoint, model.resolve(), pairs.val, pairs.names, height_and_width, resources.cpus)
        return on_trial_resources(options, resources, task)

    with console.status("evaluating the best model"):
        written = write_best(run, best, pairs, checkpoint, evaluate, _train_command(options))
    _print_outcome(options, records, best, written.metrics, console)
    if not written.agrees:
        console.print(
            f"the reloaded model's val_loss is {written.metrics['val_loss']:.6f}, not the trial's: "
            "do not trust best/model and report this as a bug",
            style="bold red",
        )
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
    options: Options, records: list[TrialRecord], best: TrialRecord, metrics: dict[str, Any], console: Console
) -> None:
    console.print()
    console.print(_ranking(records, best), highlight=False)
    counts = Counter(record.status for record in records)
    if counts["FAILED"]:
        console.print(f"{counts['FAILED']} trial(s) failed; the table's column `error` says why", style="red")
    if counts["RUNNING"]:
        console.print(
            f"{counts['RUNNING']} trial(s) are unfinished; go on with them: {resume_command(options.run)}",
            style="yellow",
            soft_wrap=True,
        )
    for title, record in (("best recipe", best), ("the reference", records[0])):
        console.print(f"\n[bold]{title}[/] (trial {record.number})", highlight=False)
        console.print(_stages(record), highlight=False)
    point = metrics["recommended"]
    console.print(
        f"\n[bold]best model[/] mAP {_figure(metrics['mAP'])}, mAP50 {_figure(metrics['mAP50'])}; run it at score >= "
        f"{point['score_threshold']:.2f}: precision {point['precision']:.3f}, recall {point['recall']:.3f}, "
        f"F1 {point['f1']:.3f} (IoU 0.5)\n",
        highlight=False,
    )
    for what, path in WRITTEN.items():
        console.print(f"{what:<12}{options.run / path}", soft_wrap=True, highlight=False)


def _ranking(records: list[TrialRecord], best: TrialRecord) -> Table:
    """The best trials, and the reference where it is not among them."""
    ranked = sorted((r for r in records if r.status != "FAILED" and r.best), key=_loss)
    shown = ranked[:SHOWN] + [record for record in ranked[SHOWN:] if record.reference]
    table = Table(title=f"best {min(SHOWN, len(ranked))} of {len(records)} trials", title_justify="left", box=None)
    for header in ("trial", "status", "val_loss", "f1", "precision", "recall", "best epoch", "epochs"):
        table.add_column(header, justify="left" if header == "status" else "right")
    for record in shown:
        row = record.best or {}
        table.add_row(
            f"{record.number}{' (reference)' if record.reference else ''}",
            record.status.lower(),
            f"{row['val_loss']:.4f}",
            *(f"{row[name]:.3f}" for name in ("f1", "precision", "recall")),
            f"{row['epoch']}",
            f"{record.history[-1]['epoch']}",
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
