"""A recipe from its first epoch to its last: stage after stage, each from the best weights of the one before."""

import dataclasses
import gc
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainable.data.pairs import PairData
from trainable.data.store import open_store
from trainable.model import load_model, load_processor
from trainable.recipe import Recipe, cap_restart_cycles, updates_per_epoch
from trainable.stage_trainer import StageTrainer, TrialData, torch_dtype
from trainable.trial_folder import Row, TrialFolder, stage_is_over


def train_recipe(
    recipe: Recipe,
    pairs: PairData,
    checkpoint: str | Path,
    folder: Path,
    report: Callable[[Row], None],
    workers: int = 0,
    cache_bytes: int = 0,
) -> TrialFolder:
    """Trains `recipe` and reports every epoch once; goes on where `folder` left off.

    Args:
        recipe: what to train; its effective form is written into `folder`.
        pairs: the data set.
        checkpoint: folder or hub name of the DETR to start from.
        folder: the trial's own folder, see `TrialFolder`.
        report: called at the end of each epoch, after the epoch is safe on disk; first with the epochs that `folder`
            already holds. May raise to end the trial.
        workers: processes that load pictures beside this one.
        cache_bytes: most bytes that this node may keep of resized differences, see `open_store`; 0 keeps none. It makes
            no difference to the numbers.

    Returns:
        The folder, its history complete.

    Raises:
        FloatingPointError: a loss is not finite.
        ModelError, RecipeError, OSError: the checkpoint, the folder or a picture cannot be used.
    """
    trial = TrialFolder(folder, effective_recipe(recipe, len(pairs.train)))
    for row in trial.history:
        report(row)
    processor = load_processor(checkpoint)
    data = TrialData.of(pairs, processor, open_store((*pairs.train, *pairs.val), processor, cache_bytes))
    while (stage := trial.stage) is not None:
        _free_memory()
        _train_stage(trial, stage, data, pairs.names, checkpoint, report, workers)
    return trial


def _free_memory() -> None:
    """Gives back what the stage before held, or the trial before in this process, however that ended.

    Before a stage rather than after it: Trainer, its callbacks and the model refer to each other, and the exception by
    which Ray stops a trial keeps them alive until it is over.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _train_stage(
    trial: TrialFolder,
    stage: int,
    data: TrialData,
    names: Sequence[str],
    checkpoint: str | Path,
    report: Callable[[Row], None],
    workers: int,
) -> None:
    # A fresh model a stage: what an earlier Trainer wrapped or froze leaves no trace.
    model = load_model(trial.start_weights or checkpoint, names, trial.recipe.seed)
    callback = _EpochCallback(trial, stage, report)
    trainer = StageTrainer(model, trial.recipe, stage, data, trial.path / f"stage-{stage}", workers, [callback])
    callback.trainer = trainer
    resumed_from = trial.stage_checkpoint
    try:
        trainer.train(resume_from_checkpoint=str(resumed_from) if resumed_from else None)
    finally:
        trainer.accelerator.free_memory()


def effective_recipe(recipe: Recipe, pictures: int) -> Recipe:
    """The recipe as `pictures` pairs and this machine let it be: restart cycles capped, `auto` precision resolved."""
    dtype = str(torch_dtype(recipe.dtype)).removeprefix("torch.")
    return dataclasses.replace(cap_restart_cycles(recipe, pictures), dtype=dtype)


class _EpochCallback(TrainerCallback):
    """Evaluates, saves and reports at the end of each epoch, and ends the stage when its patience is over."""

    trainer: StageTrainer

    def __init__(self, trial: TrialFolder, stage: int, report: Callable[[Row], None]):
        self.trial = trial
        self.stage = stage
        self.report = report
        self.within_epoch: list[Row] = []
        self.row: Row = {}
        self.started = time.monotonic()
        self.seconds_before = trial.history[-1]["seconds"] if trial.history else 0.0
        self.epochs_before = sum(row["stage"] < stage for row in trial.history)
        self.learning_rate = 0.0

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.trainer.losses_of_epoch.clear()
        self.within_epoch = []

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.learning_rate = self.trainer.current_learning_rate()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        updates = updates_per_epoch(self.trial.recipe, len(self.trainer.train_dataset))
        step, wanted = (state.global_step - 1) % updates + 1, self.trial.recipe.evaluations_per_epoch
        if step < updates and step * wanted // updates > (step - 1) * wanted // updates:
            self.within_epoch.append(self._evaluated(self.epochs_before + state.epoch))

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        row = self._evaluated(self.epochs_before + round(state.epoch or 0))
        history = [*self.trial.history, row]
        stage_over = stage_is_over(history, self.trial.recipe, self.stage)
        last_stage = self.stage == len(self.trial.recipe.stages) - 1
        self.row = row | {"final": stage_over and last_stage, "within_epoch": self.within_epoch}
        control.should_training_stop = control.should_training_stop or stage_over
        control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        self.trial.commit(self.row, checkpoint, self.trainer.model)
        self.report(self.row)

    def _evaluated(self, epoch: float) -> Row:
        trainer = self.trainer
        evaluation = trainer.evaluate_data_set()
        losses = trainer.losses_of_epoch
        updates = math.ceil(len(losses) / self.trial.recipe.accumulation_steps)
        return {
            "epoch": epoch,
            "stage": self.stage,
            "train_loss": math.fsum(losses) / updates,
            **evaluation.losses,
            "learning_rate": self.learning_rate,
            **evaluation.scores(),
            "seconds": self.seconds_before + time.monotonic() - self.started,
        }
