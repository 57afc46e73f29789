"""The last words of a search on the console: the best trials, the reference beside them, and where all of it lies."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from rich.console import Console
from rich.text import Text

from results.description import model_rows, stage_rows, whole_settings
from results.formatting import cameras, count, ratio, unread
from results.journal.journal import TrialRecord
from results.model.best import Best
from results.page.confirmation import confirmed_rows, final_sentences, taken_sentence
from results.retrained import FINAL, Chosen, Confirmed, confirmed, of_purpose
from results.selection import Selection
from search.console.fitting import FittingTable
from search.options import Options
from search.run_folder.run_folder import resume_command
from search.study import SearchStudy

WRITTEN = {
    "report": "report.html",
    "table": "results.csv",
    "best recipe": "best/recipe.yaml",
    "best model": "best/model",
    "metrics": "best/metrics.json",
    "sweep": "best/sweep.csv",
    "overlays": "best/overlays",
    "test": "best/test/metrics.json",
    "tensorboard": "tensorboard",
}
"""What the last lines point to, relative to the run folder, where it exists."""

SHOWN = 5
"""Trials of the table that is printed at the end."""


def print_outcome(
    options: Options,
    records: list[TrialRecord],
    retrained: Sequence[TrialRecord],
    choice: Chosen,
    written: Best,
    on_test: dict[str, Any] | None,
    luck: Selection | None,
    left: int,
    console: Console,
) -> None:
    """Prints how a search ended that has a best trial.

    Args:
        options: what was asked; says where the run folder is.
        records: all trials, the reference first.
        retrained: what was trained again after them.
        choice: the training whose model was taken.
        written: what its evaluation gave.
        on_test: contents of `best/test/metrics.json`, if there is a test set.
        luck: what picking the best has added to its loss, if that is known.
        left: trials still to do.
        console: where to print.
    """
    best = next(record for record in records if record.number == choice.record.number)
    ranked = sorted((r for r in records if r.status != "FAILED" and r.best), key=attrgetter("objective"))
    console.print(f"\nbest {min(SHOWN, len(ranked))} of {len(records)} trials", style="italic")
    console.print(_ranking(ranked, best, bool(written.metrics["boxes"])))
    if failed := sum(record.status == "FAILED" for record in records):
        console.print(f"{failed} trial(s) failed; the table's column `error` says why", style="red")
    if by_model := model_rows(records):
        console.print()
        console.print(_by_model(by_model, best.metric.title))
    for title, record in (("best recipe", best), ("the reference", records[0])):
        console.print(Text.assemble("\n", (title, "bold"), f" (trial {record.number})"))
        console.print(_stages(record))
        if record.recipe:
            console.print(Text(whole_settings(record.recipe)), style="dim italic")
    if retrained:
        _print_retrained(confirmed(records, retrained), of_purpose(retrained, FINAL), choice, console)
    if luck and luck.trial == best.number:
        console.print(f"\n{luck}", highlight=False, soft_wrap=True)
    _print_metrics(written.metrics, on_test, console)
    for what, path in WRITTEN.items():
        if (options.run / path).exists():
            console.print(f"{what:<12}{options.shown(path)}", soft_wrap=True)
    if not written.agrees:
        console.print(
            f"the reloaded model's val_loss is {written.metrics['val_loss']:.6f}, not the trial's: "
            "do not trust best/model and report this as a bug",
            style="bold red",
        )
    _print_left(options, left, console)


def print_no_success(options: Options, study: SearchStudy, left: int, console: Console) -> None:
    """Prints how a search ended in which no trial has an epoch to show."""
    if study.tried:
        console.print("no trial succeeded; why each failed is in results.md and in trials/*/error.txt", style="red")
    console.print(f"results  {options.shown()}", soft_wrap=True)
    _print_left(options, left, console)


def print_not_evaluated(options: Options, best: TrialRecord, error: Exception, console: Console) -> None:
    """Prints that the trials are done and kept, but the best model could not be evaluated, and how to go on."""
    said = f"the best model, of trial {best.number}, could not be evaluated: {error}"
    console.print(said, style="red", soft_wrap=True)
    console.print("all trials are kept; once that is mended, only the evaluation is done again by:", soft_wrap=True)
    console.print(resume_command(options), soft_wrap=True)


def _print_metrics(metrics: dict[str, Any], on_test: dict[str, Any] | None, console: Console) -> None:
    figures, point = f" mAP {ratio(metrics['mAP'])}, mAP50 {ratio(metrics['mAP50'])}; ", metrics["recommended"]
    if point is None:
        said = Text(f"no score threshold can be recommended: {metrics['not_recommended']}", "yellow")
    else:
        said = Text(f"run it at score >= {point['score_threshold']:.2f}: {_point(metrics)} (IoU 0.5)")
    console.print(Text.assemble("\n", ("best model", "bold"), figures, said))
    if point and point["constraint_kept"] is False:
        console.print(point["constraint"], style="yellow")
    if on_test:
        there = f"there: {_point(on_test)}" if on_test["recommended"] else on_test["not_recommended"]
        said_of_test = (
            f" mAP {ratio(on_test['mAP'])}, mAP50 {ratio(on_test['mAP50'])}; {there}, {on_test['pairs']} pairs"
        )
        console.print(Text.assemble(("on the test set", "bold"), said_of_test))
    for flag, measured in (("--data", metrics), ("--test", on_test or {})):
        if moved := cameras(measured):
            console.print(f"{flag}: {moved}", highlight=False, soft_wrap=True)
        if said_of := unread(measured):
            console.print(f"{flag}: {said_of}", style="yellow", soft_wrap=True)
    console.print()


def _print_retrained(
    found: Sequence[Confirmed], final: Sequence[TrialRecord], choice: Chosen, console: Console
) -> None:
    """What other seeds and more epochs have come to, and which model was taken."""
    if found:
        seeds = len(found[0].values)
        console.print(f"\ntrained again with {count(seeds, 'other seed')}", style="italic")
        table = FittingTable(("trial", "as found", "mean", "95 % interval", "behind the first"), frozenset())
        for row in confirmed_rows(found):
            table.add(*row.values())
        console.print(table)
    console.print("", *final_sentences(final), taken_sentence(choice), sep="\n", highlight=False)


def _point(metrics: dict[str, Any]) -> str:
    """Precision, recall and F1 with its interval, since a small set says little."""
    point = metrics["recommended"]
    low, high = point["interval"]["f1"]
    return (
        f"precision {point['precision']:.3f}, recall {point['recall']:.3f}, F1 {point['f1']:.3f} "
        f"({low:.2f} to {high:.2f} in 95 % of resamples)"
    )


def _print_left(options: Options, left: int, console: Console) -> None:
    if left > 0:
        console.print(
            f"stopped with {left} of {options.trials} trial(s) still to do; go on with: {resume_command(options)}",
            style="yellow",
            soft_wrap=True,
        )


def _ranking(ranked: list[TrialRecord], best: TrialRecord, measured: bool) -> FittingTable:
    """The best trials, and the reference where it is not among them.

    Args:
        ranked: all trials that have a loss, the best first.
        best: one of them, which stands out.
        measured: whether the validation pairs have boxes, so that precision and recall say something.
    """
    headers = ("trial", "status", best.metric.title, "f1", "precision", "recall", "best epoch")
    table = FittingTable(headers, frozenset({"status"}))
    for record in ranked[:SHOWN] + [record for record in ranked[SHOWN:] if record.reference]:
        row = record.best
        assert row is not None, "it is ranked by its loss"
        table.add(
            f"{record.number}{' (reference)' if record.reference else ''}",
            record.status.lower(),
            f"{row.compared:.4f}",
            *(ratio(share if measured else None) for share in (row.f1, row.precision, row.recall)),
            f"{row.epoch} of {record.history[-1].epoch}",
            style="bold" if record is best else "",
        )
    return table


def _by_model(rows: list[dict[str, str]], metric: str) -> FittingTable:
    """The best trial of each model that trials started from."""
    table = FittingTable(("starts from", "trials", metric, "of trial"), frozenset({"starts from"}))
    for row in rows:
        table.add(*row.values())
    return table


def _stages(record: TrialRecord) -> FittingTable:
    """A recipe's stages and what each reached."""
    headers = ("", "trains", "epochs", "learning rate", "cycles", record.metric.title)
    table = FittingTable(headers, frozenset({"", "trains"}), padding=(1, 2))
    for number, row in enumerate(stage_rows(record), start=1):
        shown = (row[name] for name in ("trains", "epochs", "learning_rate", "cycles", "reached"))
        table.add(f"stage {number}", *shown)
    return table
