"""A recipe from its first epoch to its last: stage after stage, each from the best weights of the one before."""

import dataclasses
import functools
import gc
import logging
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    PreTrainedModel,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from trainable.compute import CPU, ON_CPU, Compute
from trainable.data.image_cache import ImageCache, open_image_cache
from trainable.data.pair import Pair
from trainable.data.pairs import PairData
from trainable.data.resizing import ImageProcessor
from trainable.data.trial_data import TrialData
from trainable.detector.families.registry import family_of
from trainable.detector.loading import load_processor
from trainable.history import EpochRow, Row, stage_is_over
from trainable.precision import torch_dtype
from trainable.recipe import Recipe, augments, cap_restart_cycles, updates_per_epoch
from trainable.reuse.config import NO_CACHE, ReuseConfig
from trainable.reuse.frozen_features import frozen_prefix, use_frozen_features
from trainable.storage.mirror import Mirror
from trainable.training.evaluation import Evaluation
from trainable.training.exhaustion import is_out_of_memory
from trainable.training.score import score
from trainable.training.stage_trainer import StageTrainer
from trainable.training.trial_folder import TrialFolder
from trainable.training.weights import trial_model

_log = logging.getLogger(__name__)


def train_recipe(
    recipe: Recipe,
    pairs: PairData,
    checkpoint: str | Path,
    folder: Path,
    report: Callable[[EpochRow], None],
    compute: Compute = ON_CPU,
    reuse: ReuseConfig = NO_CACHE,
    mirror: Mirror | None = None,
    reported: Sequence[EpochRow] = (),
) -> TrialFolder:
    """Trains `recipe` and reports every epoch once; goes on where `folder` left off.

    Where the memory is not enough, it goes on with half as many images at a time through the model.

    Args:
        recipe: what to train; its effective form is written into `folder`.
        pairs: the data set.
        checkpoint: folder or hub name of the DETR to start from.
        folder: the trial's own folder, see `TrialFolder`.
        report: called at the end of each epoch, after the epoch is safe on disk; first with the epochs that `folder`
            already holds. May raise to end the trial.
        compute: what to train with.
        reuse: what is done once; none of it is needed for the result.
        mirror: of the run that `folder` is in, where that lies in a remote storage.
        reported: epochs that are known to the caller, for where `folder` has lost them.

    Returns:
        The folder, its history complete.

    Raises:
        FloatingPointError: a loss is not finite.
        ModelError, RecipeError, OSError: the checkpoint, the folder or an image cannot be used.
    """
    recipe = effective_recipe(recipe, len(pairs.train), compute.device)
    trial = TrialFolder(folder, recipe, mirror, reported)
    for row in trial.history:
        report(row)
    processor = load_processor(checkpoint, recipe.image_size, recipe.input)
    data = TrialData.of(pairs, processor, _cached((*pairs.train, *pairs.val), processor, reuse, pairs.skip_bad))
    both = _cached(pairs.train, processor, reuse, pairs.skip_bad, both=True) if augments(recipe) else None

    def data_of(stage: int) -> TrialData:
        if not augments(recipe):
            return data
        from trainable.training.augmenting import augmented  # It takes OpenCV: only where it is asked for.

        return augmented(data, recipe, stage, both, reuse)

    try:
        while (stage := trial.next_stage()) is not None:
            _free_memory()
            weights = trial.start_weights(stage)
            model = trial_model(checkpoint, pairs.names, recipe.seed, weights, recipe.input.signal)
            try:
                scored = functools.partial(score, recipe.metric, pairs=pairs)
                _train_stage(trial, stage, model, data_of(stage), scored, report, compute, reuse)
            except Exception as error:
                if not (is_out_of_memory(error) and trial.halve_micro_batch()):
                    raise
                _log.warning(
                    "trial %s ran out of memory in stage '%s'; it goes on with %d of a step's images at a time, which "
                    "trains the same",
                    *(folder.name, trial.recipe.stages[stage].name, trial.recipe.images_at_a_time),
                )
    finally:
        trial.close()
    return trial


def effective_recipe(recipe: Recipe, images: int, device: torch.device = CPU) -> Recipe:
    """The recipe as `images` pairs and `device` let it be: restart cycles capped, `auto` precision resolved."""
    dtype = str(torch_dtype(recipe.dtype, device)).removeprefix("torch.")
    return dataclasses.replace(cap_restart_cycles(recipe, images), dtype=dtype)


def _cached(
    pairs: Sequence[Pair], processor: ImageProcessor, reuse: ReuseConfig, skip_bad: bool, both: bool = False
) -> ImageCache | None:
    """The store of the pairs' differences, or of both their images; None where there can be none."""
    try:
        return open_image_cache(pairs, processor, reuse.image_bytes, both=both)
    except ValueError as error:
        if not skip_bad:
            raise
        _log.warning("%s are not cached: %s", "images" if both else "differences", error)
        return None


def _free_memory() -> None:
    """Gives back what the stage before held, or the trial before in this process, however that ended.

    Before a stage rather than after it: Trainer, its callbacks and the model refer to each other, and the exception by
    which Ray stops a trial keeps them alive until it is over.
    """
    gc.collect()
    torch.cuda.empty_cache()  # Does nothing where no GPU is in use.


def _train_stage(
    trial: TrialFolder,
    stage: int,
    model: PreTrainedModel,
    data: TrialData,
    scored: Callable[[Evaluation], dict[str, float]],
    report: Callable[[EpochRow], None],
    compute: Compute,
    reuse: ReuseConfig,
) -> None:
    trainable, dtype = trial.recipe.stages[stage].trainable, torch_dtype(trial.recipe.dtype)
    model.to(compute.device)
    layer_bytes = 0 if data.drawn_anew else reuse.layer_bytes
    if layer_bytes < reuse.layer_bytes and frozen_prefix(trainable, family_of(model.config).cacheable):
        _say_computed_anew()
    try:
        behind, inputs = use_frozen_features(model, trainable, data, dtype, layer_bytes)
    except ValueError as error:
        if not data.skip_bad:
            raise
        _log.warning("layer outputs are not cached: %s", error)
        behind, inputs = use_frozen_features(model, trainable, data, dtype, cache_bytes=0)
    # What comes out of the store of layer outputs is not worth a process of its own to read it.
    workers = compute.workers if inputs is data else 0
    callback = _EpochCallback(trial, stage, model, scored, report, reuse)
    trainer = StageTrainer(behind, trial.recipe, stage, inputs, trial.path / f"stage-{stage}", workers, [callback])
    callback.trainer = trainer
    resumed_from = trial.checkpoint_of(stage)
    try:
        trainer.train(resume_from_checkpoint=str(resumed_from) if resumed_from else None)
    finally:
        trainer.close()


@functools.cache
def _say_computed_anew() -> None:
    """Says it once a process."""
    _log.warning(
        "augmented pairs are others in every epoch, so that what frozen parts make of them is computed anew each time; "
        "a recipe's augmentation.variants has a few of them kept"
    )


class _EpochCallback(TrainerCallback):
    """Evaluates, keeps and reports each epoch, and ends the stage when its patience is over.

    Where a checkpoint is due it is saved before the epoch is reported, since Ray may end the trial in the report.
    """

    trainer: StageTrainer

    def __init__(
        self,
        trial: TrialFolder,
        stage: int,
        model: PreTrainedModel,
        scored: Callable[[Evaluation], dict[str, float]],
        report: Callable[[EpochRow], None],
        reuse: ReuseConfig,
    ):
        self.trial = trial
        self.stage = stage
        self.model = model
        self.scored = scored
        self.report = report
        self.reuse = reuse
        self.within_epoch: list[Row] = []
        self.ended: EpochRow
        """The epoch that was evaluated last; `is_new` where it has not been reported before."""
        self.evaluation: Evaluation | None = None
        """What it was evaluated to; None where that was before this process."""
        self.is_new = self.stage_over = False
        self.started = self.checkpoint_asked = time.monotonic()
        self.seconds_before = trial.seconds
        self.epochs_before = sum(row.stage < stage for row in trial.history)
        self.learning_rate = 0.0

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.losses_of_epoch.clear()
        self.within_epoch, self.evaluation = [], None

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.learning_rate = self.trainer.current_learning_rate()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.trial.take_in_checkpoint()
        recipe, images = self.trial.recipe, len(self.trainer.train_dataset)
        updates, wanted = updates_per_epoch(recipe, images), recipe.evaluations_per_epoch
        epochs, step = divmod(state.global_step - 1, updates)
        step += 1
        due = step < updates and step * wanted // updates > (step - 1) * wanted // updates
        # In batches of the recipe, so that the place of an evaluation does not depend on the micro-batch.
        epoch = self.epochs_before + (epochs + step * recipe.accumulation_steps / math.ceil(images / recipe.batch_size))
        if due and not self.trial.row_of_epoch(math.ceil(epoch)):
            self.within_epoch.append(Row(epoch=epoch, **self._evaluated(step)))

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        epoch = self.epochs_before + round(state.epoch or 0)
        known = self.trial.row_of_epoch(epoch)
        self.is_new = known is None
        updates = updates_per_epoch(self.trial.recipe, len(self.trainer.train_dataset))
        row = known or EpochRow(epoch=epoch, within_epoch=tuple(self.within_epoch), **self._evaluated(updates))
        until_now = [earlier for earlier in self.trial.history if earlier.epoch < epoch] + [row]
        self.stage_over = stage_is_over(until_now, self.trial.recipe, self.stage)
        last_stage = self.stage == len(self.trial.recipe.stages) - 1
        self.ended = known or dataclasses.replace(row, final=self.stage_over and last_stage)
        control.should_training_stop = control.should_training_stop or self.stage_over
        control.should_save = self._is_checkpoint_due()
        if not control.should_save:
            self._commit()
            self._report()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._commit()
        # Not before: a checkpoint must never be of a later epoch than the history.
        self.trial.checkpoint_written(Path(args.output_dir) / f"checkpoint-{state.global_step}", self.stage)
        if self._may_wait_here():
            self.trial.wait_for_checkpoint()  # Of a trial that is told to wait, nothing must be on its way any more.
        self._report()

    def _is_checkpoint_due(self) -> bool:
        """Whether to write one now; none is asked for while the one before is on its way to the disk."""
        if self._may_wait_here():
            self.trial.wait_for_checkpoint()
            return not self.stage_over
        self.trial.take_in_checkpoint()
        now = time.monotonic()
        due = now - self.checkpoint_asked >= self.reuse.checkpoint_seconds
        if self.stage_over or self.trial.is_writing or not due:
            return False
        self.checkpoint_asked = now
        return True

    def _may_wait_here(self) -> bool:
        """Whether the trial may be told to wait at a rung when it reports its last epoch."""
        return self.ended.epoch in self.reuse.checkpoint_epochs

    def _commit(self) -> None:
        self.trial.commit(self.ended, self.model, self.evaluation.image_terms if self.evaluation else None)

    def _report(self) -> None:
        if self.is_new:
            self.report(self.ended)

    def _evaluated(self, updates: int) -> dict[str, Any]:
        """All of a row but where in the trial it stands, after so many updates of the running epoch."""
        evaluation = self.evaluation = self.trainer.evaluate_data_set()
        return {
            "stage": self.stage,
            "train_loss": math.fsum(self.trainer.losses_of_epoch) / updates,
            **evaluation.losses,
            "learning_rate": self.learning_rate,
            **evaluation.scores(),
            **self.scored(evaluation),
            "seconds": self.seconds_before + time.monotonic() - self.started,
        }
