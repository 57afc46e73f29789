"""Real trials on the sample data set, timed: how much of them is training, and where the rest goes."""

import gc
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import accelerate
import torch
import transformers
from stopwatch import Stopwatch, print_shares

import trainable.reuse.frozen_features
import trainable.training.evaluation
import trainable.training.stage_trainer
import trainable.training.staged_trainer
from trainable.data.dataset import MovedObjectDataset, PairCollator
from trainable.data.pairs import read_pairs
from trainable.history import EpochRow
from trainable.recipe import PARTS, Recipe, Stage, reference
from trainable.reuse.config import ReuseConfig
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.sample.data_set import sample_data_set
from trainable.training.stage_trainer import StageTrainer
from trainable.training.trial_folder import TrialFolder

TRAINING = ("forward and loss", "backward", "optimizer step")
FORWARD_BESIDE = ("forward of evaluation", "forward of frozen layers, once")


class SampleTrials:
    """Trials on the sample data set, one after the other in this process, with one thread."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        self.pairs = read_pairs(sample_data_set())

    def run(self, recipe: Recipe) -> tuple[list[EpochRow], float]:
        """The history of a trial of `recipe`, and its wall time in seconds."""
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            trial = trainable.training.staged_trainer.train_recipe(
                recipe,
                self.pairs,
                checkpoint_of(EMBEDDED),
                Path(folder) / "trial",
                report=lambda row: None,
                reuse=ReuseConfig(cache_bytes=10**10),
            )
            return trial.history, time.perf_counter() - started


@contextmanager
def sample_trials() -> Iterator[SampleTrials]:
    """Gives `SampleTrials` in a process that a trial has warmed, with the images made ready."""
    trials = SampleTrials()
    with tempfile.TemporaryDirectory() as cache, patch.dict(os.environ, XDG_CACHE_HOME=cache):
        trials.run(everything(epochs=1))
        gc.freeze()  # as a worker of a search does
        yield trials


def everything(epochs: int) -> Recipe:
    """A recipe of one stage that trains everything."""
    return Recipe((Stage("everything", PARTS, epochs, 5e-5),))


def goodput(epochs: int) -> list[str]:
    """Times a trial that trains everything and one of the reference recipe, and prints where their time went.

    Returns:
        The lines to end on.
    """
    figures = []
    with sample_trials() as trials:
        watch = watched_trial()
        for name, recipe in (("everything", everything(epochs)), ("staged", reference(epochs))):
            watch.reset()
            _, whole = trials.run(recipe)
            print(f"a trial of {epochs} epochs, {name}:")
            print_shares(watch.seconds, whole, "Trainer's loop and all else")
            training = sum(watch.seconds[part] for part in TRAINING)
            forward = sum(watch.seconds.get(part, 0.0) for part in FORWARD_BESIDE)
            figures.append(
                f"goodput {name}: {training / whole:.1%}, with all forward passes {(training + forward) / whole:.1%}"
            )
    return figures


def watched_trial() -> Stopwatch:
    """A stopwatch on the parts of a trial."""
    watch = Stopwatch()
    watch.watch("forward and loss", StageTrainer, "compute_loss")
    watch.watch("backward", accelerate.Accelerator, "backward")
    watch.watch("optimizer step", accelerate.Accelerator, "clip_grad_norm_")
    watch.watch("optimizer step", torch.optim.AdamW, "step")
    watch.watch("forward of evaluation", trainable.training.evaluation, "forward")
    watch.watch("forward of frozen layers, once", trainable.reuse.frozen_features.FrozenPrefix, "record")
    watch.watch("evaluation beside its forward pass", trainable.training.stage_trainer, "evaluate_batches")
    watch.watch("evaluation beside its forward pass", trainable.training.evaluation.Evaluation, "scores")
    watch.watch("data loading", MovedObjectDataset, "__getitem__")
    watch.watch("data loading", PairCollator, "__call__")
    watch.watch("data loading", trainable.reuse.frozen_features.ActivationDataset, "__getitem__")
    watch.watch("data loading", trainable.reuse.frozen_features.ActivationCollator, "__call__")
    watch.watch(
        "cache: opening images and layer outputs",
        trainable.training.staged_trainer,
        "open_image_cache",
        "use_frozen_features",
    )
    watch.watch("weights and history on disk", TrialFolder, "__init__", "commit", "checkpoint_written", "close")
    watch.watch("checkpoints on disk", StageTrainer, "_save_checkpoint")
    watch.watch("loading the model", trainable.training.staged_trainer, "load_processor", "trial_model")
    watch.watch("making the Trainer", StageTrainer, "__init__")
    watch.watch("collecting garbage", gc, "collect")
    return watch
