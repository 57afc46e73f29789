"""The best trial of a run, made ready to use: recipe, model, metrics and sweep under `best/`."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from results.drawing.overlays import write_overlays, write_registrations
from results.measures.metrics import write_evaluation
from results.measures.operating_point import PointRule
from results.model.trial_model import TrainedTrial, write_trial_model
from results.retrained import Chosen
from trainable.alignment import OFF
from trainable.data.pairs import PairData
from trainable.data.resizing import alignment_of
from trainable.detector.loading import load_processor
from trainable.recipe import augments
from trainable.training.evaluation import Evaluation


@dataclass(frozen=True)
class Best:
    """What was written.

    Attributes:
        metrics: contents of `best/metrics.json`.
        agrees: whether the reloaded model gives the `val_loss` that its trial reported.
    """

    metrics: dict[str, Any]
    agrees: bool


def write_best(
    run: Path,
    best: Chosen,
    pairs: PairData,
    checkpoint: str,
    evaluate: Callable[[Path], Evaluation],
    train_command: str,
    rule: PointRule,
    overlays: int,
) -> Best:
    """Writes `best/` and evaluates the model as it lies there.

    Args:
        run: the run folder.
        best: the training whose model it is.
        pairs: the data set.
        checkpoint: what the search started from; its image processor goes with the model.
        evaluate: loads the model of a folder and evaluates it on the validation pairs.
        train_command: the command that trains the recipe again, shown in `recipe.yaml`.
        rule: how the score threshold is chosen that the model is to run at.
        overlays: how many pairs to draw, the worst, the best and some between.
    """
    scratch, folder = run / "best.tmp", run / "best"
    shutil.rmtree(scratch, ignore_errors=True)
    trial = TrainedTrial(run.name, run / best.folder, best.record, pairs, checkpoint)
    written = write_trial_model(trial, scratch, scratch / "model", evaluate, rule, best.title, train_command)
    metrics = written.metrics
    alignment = best.record.recipe.input.alignment if best.record.recipe else OFF
    evaluated = written.evaluation.read(pairs.val)
    indices = {pair.id: index for index, pair in enumerate(evaluated)}
    worst_first = [indices[row["id"]] for row in metrics["pairs_by_loss"]]
    counted_at, images = metrics["counted_at"], scratch / "overlays"
    write_overlays(
        *(written.evaluation, evaluated, pairs.names, worst_first, counted_at, images, overlays, pairs.skip_bad),
        alignment=alignment,
    )
    if best.record.recipe and augments(best.record.recipe):
        from results.drawing.augmented import write_augmented  # It takes OpenCV.

        write_augmented(pairs, load_processor(scratch / "model"), best.record.recipe, scratch / "augmented")
    write_registrations(metrics, evaluated, scratch / "registration", pairs.skip_bad)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.replace(folder)
    return Best(metrics, written.agrees)


def write_test(run: Path, test: PairData, evaluation: Evaluation, rule: PointRule, score_threshold: float) -> Any:
    """Writes `best/test/`: the best model on pairs that the search has never seen; returns its metrics.

    Args:
        run: the run folder, with `best/` in it.
        test: all its pairs count.
        evaluation: of these, train before val.
        rule: what precision and recall were asked for.
        score_threshold: as chosen on the validation pairs; one chosen on the test pairs would flatter them.
    """
    folder = run / "best" / "test"
    folder.mkdir(exist_ok=True)
    rule = replace(rule, score_threshold=score_threshold)
    alignment = alignment_of(load_processor(run / "best" / "model"))
    pairs = (*test.train, *test.val)
    return write_evaluation(evaluation, pairs, test.names, folder, rule, test.skip_bad, alignment)
