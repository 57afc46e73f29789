"""The outcome of a search in sentences with numbers."""

from collections import Counter
from typing import Any

from results.description import figures_at
from results.formatting import change, count, figure, ratio
from results.journal.journal import TrialRecord, best_trial
from results.page.confirmation import confirmed_sentence, final_sentences, taken_sentence
from results.page.contents import RunContents
from results.retrained import FINAL, chosen, of_purpose
from trainable.history import best_row


def headline(contents: RunContents) -> str:
    """One sentence: the best recipe against the reference at equal budget, or why there is none."""
    best, reference = contents.best, contents.reference
    if best is None:
        return _nothing(contents.records)
    metric, value, ran = best.metric, figure(best.compared), [record for record in contents.records if record.history]
    if best.reference:
        others = best_trial(record for record in ran if not record.reference)
        if others is None:
            return (
                f"Only the reference recipe has a result: {metric.title} {value}; there is nothing to compare it with."
            )
        return (
            f"The reference recipe is the best of {count(len(ran), 'trial')}: {metric.title} {value}. The best of the "
            f"others, trial {others.number}, has {figure(others.compared)}, "
            f"{change(others.compared, best.compared)}."
        )
    start = f"Trial {best.number} has the best recipe of {count(len(ran), 'trial')}: {metric.title} "
    if reference is None or reference.best is None or reference.status == "FAILED":
        return f"{start}{value}. The reference has no result to compare it with."
    return start + _against_reference(best, reference, measured=contents.metrics.get("boxes") != 0)


def further_sentences(contents: RunContents) -> list[str]:
    """The operating point, and what limits the verdict."""
    sentences = []
    if contents.confirmed:
        sentences.append(confirmed_sentence(contents.confirmed))
    sentences += final_sentences(of_purpose(contents.retrained, FINAL))
    if contents.retrained and (choice := chosen(contents.records, contents.retrained)):
        sentences.append(taken_sentence(choice))
    if contents.best and contents.metrics:
        if contents.selection and contents.selection.trial == contents.best.number:
            sentences.append(f"Its {contents.selection}.")
        sentences.append(operating_point_sentence(contents.metrics))
        if contents.on_test.get("recommended"):
            sentences.append(f"On the test set, which the search has not seen: {_figures(contents.on_test)}.")
        elif contents.on_test:
            sentences.append("The test pairs have no labelled object, so there is nothing to measure on them.")
    elif contents.best:
        sentences.append("The best model has not been evaluated yet; that is done when the search ends.")
    if contents.best and contents.metrics and not contents.evaluation_is_of_best:
        sentences.append(
            "The search has found a better trial since; sections 3 and 4 are of the model in best/, which is evaluated "
            "anew when the search ends."
        )
    counts = Counter(record.status for record in contents.records)
    if contents.best and not counts["COMPLETED"]:
        sentences.append("No trial has trained to its end yet, so this may well change.")
    if counts["RUNNING"]:
        sentences.append(f"{count(counts['RUNNING'], 'trial')} unfinished.")
    if counts["PAUSED"]:
        sentences.append(f"{count(counts['PAUSED'], 'trial')} at a rung, to go on when among the best there.")
    if counts["FAILED"] and contents.best:
        sentences.append(f"{count(counts['FAILED'], 'trial')} failed; section 7 says why.")
    return sentences


def operating_point_sentence(metrics: dict[str, Any]) -> str:
    """At which score to run the best model, and what it gives there."""
    point, boxes = metrics.get("recommended"), metrics.get("boxes")
    if boxes == 0:
        return (
            "There is nothing to measure: no validation pair has a labelled object. Recall, F1 and mAP are undefined, "
            "no score threshold can be recommended, and val_loss only says how surely a model finds nothing."
        )
    if boxes and not point:
        found = f"The best model finds none of the {count(boxes, 'object')} at any score threshold"
        return f"{found}, so none can be recommended."
    if not point:
        return "No operating point has been written for the best model."
    return f"Run its model at score ≥ {point['score_threshold']:.2f}: {_figures(metrics)}."


def _against_reference(best: TrialRecord, reference: TrialRecord, measured: bool) -> str:
    """Both at equal budget: where the reference has not trained to its end, over as many epochs as it has.

    Args:
        best: the best trial.
        reference: that of the reference recipe.
        measured: whether there are boxes to measure F1 by.
    """
    epochs = reference.history[-1].epoch
    rows = best.history if reference.status == "COMPLETED" else best.history[:epochs]
    ours, theirs = best_row(rows), best_row(reference.history)
    so_far = "" if reference.status == "COMPLETED" else " so far"
    sentence = (
        f"{figure(ours.compared)} against {figure(theirs.compared)} of the reference in the same "
        f"{count(epochs, 'epoch')}{so_far}, {change(ours.compared, theirs.compared)}"
    )
    if not measured:
        return f"{sentence}."
    sentence += f"; F1 {ratio(ours.f1)} against {ratio(theirs.f1)}"
    if theirs.f1:
        sentence += f", {change(ours.f1, theirs.f1)}"
    return sentence + " (IoU 0.5, score 0.5)."


def _figures(metrics: dict[str, Any]) -> str:
    """Precision, recall and F1 at the operating point, and of how much data they are."""
    point = metrics["recommended"]
    data = f"{count(metrics['pairs'], 'pair')} with {count(metrics['boxes'], 'object')}"
    intervals = "; 95 % intervals in brackets" if point.get("interval") else ""
    return f"{figures_at(point)} at IoU {point['iou_threshold']:g} on {data}{intervals}"


def _nothing(records: Any) -> str:
    counts = Counter(record.status for record in records)
    if not records:
        return "No trial has been started."
    if counts["RUNNING"]:
        return "No trial has reported an epoch yet."
    if counts["FAILED"] == len(records):
        return "No trial succeeded: " + ("the only one failed." if len(records) == 1 else f"all {len(records)} failed.")
    return "No trial has a result."
