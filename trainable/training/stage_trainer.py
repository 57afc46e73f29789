"""One stage of a recipe on a Hugging Face `Trainer`, with the traps that are silent for DETR closed."""

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import (
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from trainable.data.dataset import EpochSampler
from trainable.data.trial_data import TrialData
from trainable.detector.loss import LossNormalisers, criterion_of, forward, loss_normalisers, scaled_loss
from trainable.detector.parts import freeze_all_but, part_of, set_modes
from trainable.precision import autocast, torch_dtype
from trainable.recipe import Recipe
from trainable.training.evaluation import Evaluation, evaluate_batches, evaluation_batches, to_device
from trainable.training.weights import save_weights


class StageTrainer(Trainer):
    """Trains the parts of one stage and leaves the others as they are, bit for bit.

    A batch of Trainer's is a whole optimizer step, whose images go through the model some at a time: neither the order
    of images nor the updates, nor where a trial goes on, depend on how many.

    Args:
        model: where the stage starts, on the device that it is to train on.
        recipe: the effective recipe (see `effective_recipe`).
        stage: index of the stage in it.
        data: both splits.
        output_dir: where checkpoints go.
        workers: processes that load images beside this one, from the first epoch to `close`.
        callbacks: report, save and end the stage.
    """

    # The loss of a micro-batch is already its share of the optimizer step's: Trainer must not divide it again.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        model: PreTrainedModel,
        recipe: Recipe,
        stage: int,
        data: TrialData,
        output_dir: Path,
        workers: int,
        callbacks: list[TrainerCallback],
    ):
        self.recipe = recipe
        self.stage = recipe.stages[stage]
        self.dtype = torch_dtype(recipe.dtype)
        self.criterion = criterion_of(model.config)
        self.step_normalisers = LossNormalisers(0.0, 1)
        self.losses_of_epoch: list[float] = []
        self.train_batches: DataLoader[dict[str, Any]] | None = None
        self.val_batches: DataLoader[dict[str, Any]] | None = None
        freeze_all_but(model, self.stage.trainable)
        _keep_modes(model, self.stage.trainable)
        super().__init__(
            model=model,
            args=_training_arguments(recipe, stage, output_dir, workers, model.device),
            train_dataset=data.train,
            eval_dataset=data.val,
            data_collator=data.collator,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def get_train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The training images of each optimizer step, each epoch in an order of its own; not on the device yet.

        With or without loader workers, the global random state takes the same course: the loader has a generator of
        its own, since one whose workers live on draws a seed for them only once, and others in each epoch.
        """
        loader = DataLoader(
            self.train_dataset,
            self.args.per_device_train_batch_size,
            sampler=EpochSampler(len(self.train_dataset), self.args.seed),
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            persistent_workers=self.args.dataloader_persistent_workers,
            # A step is many images: one each is made while another waits, and shared memory is short.
            prefetch_factor=1 if self.args.dataloader_num_workers else None,
            pin_memory=self.args.dataloader_pin_memory,
            generator=torch.Generator(),
        )
        self.train_batches = self.accelerator.prepare_data_loader(loader, device_placement=False)
        return self.train_batches

    def close(self) -> None:
        """Frees what the stage holds of the machine, though this object may live on.

        The exception by which Ray stops a trial keeps everything alive until it is over; loader workers must not wait
        for that.
        """
        for batches in (self.train_batches, self.val_batches):
            # torch 2.13 has no public way to end workers that live on, but dropping the last reference to them.
            if batches is not None and batches._iterator is not None:
                batches._iterator._shutdown_workers()  # type: ignore[attr-defined]
        self.accelerator.free_memory()

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward passes of an optimizer step, one for each micro-batch; returns the step's loss.

        Raises:
            FloatingPointError: it is not finite; the message says where.
        """
        self.step_normalisers = loss_normalisers(inputs["labels"], self.criterion)
        loss = torch.zeros((), device=self.args.device)
        for part in micro_batches(inputs, self.recipe.images_at_a_time):
            loss += super().training_step(model, to_device(part, self.args.device))
        return loss

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """The share of a micro-batch in the optimizer step's loss.

        Raises:
            FloatingPointError: it is not finite; the message says where.
        """
        with self._located(self.state.global_step + 1):
            with autocast(self.args.device, self.dtype):
                result = forward(self.model, inputs)
            loss = scaled_loss(result.terms, self.step_normalisers, self.criterion)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"the training loss is {loss.item()}")
        self.losses_of_epoch.append(loss.item())
        return loss

    def evaluate_data_set(self) -> Evaluation:
        """Evaluates the validation set.

        Raises:
            FloatingPointError: its loss is not finite; the message says where.
        """
        if self.val_batches is None:
            workers = self.args.dataloader_num_workers
            self.val_batches = evaluation_batches(self.eval_dataset, self.data_collator, self.args.device, workers)
        with self._located(self.state.global_step):
            result = evaluate_batches(self.model, self.val_batches, self.dtype)
            loss = result.losses["val_loss"]
            if not math.isfinite(loss):
                raise FloatingPointError(f"val_loss is {loss}")
        return result

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW over the stage's parts, the backbone at its own multiple of the learning rate."""
        learning_rate = self.stage.learning_rate
        # The fused one hides from the gradient scaler of float16 that it skipped a step.
        fused = self.dtype is not torch.float16
        self.optimizer: Any = self.optimizer or torch.optim.AdamW(
            self._parameter_groups(learning_rate), lr=learning_rate, fused=fused
        )
        return self.optimizer

    def current_learning_rate(self) -> float:
        """The highest learning rate of any part at this moment."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves what the stage trains, under the names that the model has in memory; the rest is what it started from.

        Trainer's own way would write DETR under its old names, and read it without renaming and without complaint: half
        of the weights would stay as they were (`strict=False` in transformers 5.23).
        """
        folder = Path(output_dir or self.args.output_dir)
        save_weights(self.model, frozenset(self.stage.trainable), folder / "model.safetensors")

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: Trainer would walk all parameters at every batch for a figure that nobody reads."""
        return 0

    @contextlib.contextmanager
    def _located(self, update: int) -> Iterator[None]:
        """Says at which stage, update and learning rate a number stopped being finite."""
        try:
            yield
        except FloatingPointError as error:
            raise FloatingPointError(
                f"stage '{self.stage.name}', update {update} of {self.state.max_steps}, "
                f"learning rate {self.current_learning_rate():.3g}: {error}"
            ) from None

    def _parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        decaying = set(self.get_decay_parameter_names(self.model))
        groups: dict[tuple[bool, bool], list[torch.nn.Parameter]] = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                groups.setdefault((part_of(self.model, name) == "backbone", name in decaying), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": learning_rate * self.recipe.backbone_learning_rate_factor if is_backbone else learning_rate,
                "weight_decay": self.recipe.weight_decay if decays else 0.0,
            }
            for (is_backbone, decays), parameters in groups.items()
        ]


def _keep_modes(model: PreTrainedModel, trainable: Sequence[str]) -> None:
    """Has `model.train()`, which Trainer calls at every batch, leave what is frozen in eval mode.

    It also walks the modules only where the mode changes: for a stage that trains from cached layer outputs, the walk
    takes as long as the batch.
    """

    def train(mode: bool = True) -> PreTrainedModel:
        if mode and not model.training:
            set_modes(model, trainable)
        elif not mode:
            torch.nn.Module.train(model, False)
        return model

    set_modes(model, trainable)
    model.train = train


def micro_batches(batch: Mapping[str, Any], images: int) -> Iterator[dict[str, Any]]:
    """The batch in parts of so many images, the last one of what is left, without copying them."""
    for first in range(0, len(batch["labels"]), images):
        yield {name: values[first : first + images] for name, values in batch.items()}


def stage_seed(seed: int, stage: int) -> int:
    """The seed of a stage's order of images.

    Hashed: Trainer's sampler adds the epoch to the seed, so that neighbouring seeds would repeat each other's orders.
    """
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}".encode()).digest()[:4])


def _training_arguments(
    recipe: Recipe, stage: int, output_dir: Path, workers: int, device: torch.device
) -> TrainingArguments:
    on_gpu = device.type == "cuda"
    return TrainingArguments(
        output_dir=str(output_dir),
        num_train_epochs=recipe.stages[stage].epochs,
        per_device_train_batch_size=recipe.step_images,
        learning_rate=recipe.stages[stage].learning_rate,
        lr_scheduler_type="cosine_with_restarts",
        lr_scheduler_kwargs={"num_cycles": recipe.stages[stage].restart_cycles},
        warmup_steps=recipe.warmup_share,
        max_grad_norm=recipe.max_grad_norm,
        seed=stage_seed(recipe.seed, stage),
        use_cpu=not on_gpu,
        # Only for its gradient scaler; the forward pass runs under an autocast of our own.
        fp16=on_gpu and torch_dtype(recipe.dtype) is torch.float16,
        dataloader_num_workers=workers,
        dataloader_persistent_workers=workers > 0,
        dataloader_pin_memory=on_gpu,
        accelerator_config={"non_blocking": on_gpu},
        remove_unused_columns=False,
        # A callback asks for each evaluation and checkpoint.
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        report_to=[],
        disable_tqdm=True,
        log_level="error",
    )
