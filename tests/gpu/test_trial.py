"""One trial on a GPU: each precision, what loads its images, and going on where it was broken off."""

import math
from dataclasses import replace

import psutil
import pytest
import torch

from trainable.compute import CPU, Compute
from trainable.data.trial_data import TrialData
from trainable.detector.loading import load_model, load_processor
from trainable.history import best_row
from trainable.model_signal import SIGNALS
from trainable.recipe import PARTS, Augmentation, Input, Recipe, Stage
from trainable.reuse.config import ReuseConfig
from trainable.sample import CHECKPOINT
from trainable.training.evaluation import evaluate, evaluate_batches, evaluation_batches
from trainable.training.stage_trainer import StageTrainer
from trainable.training.weights import trial_model

TOLERANCE = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 5e-2}
"""Relative, of a loss: what TF32 and a precision of 8 or 11 bits explain."""
STAGES = (Stage("heads", PARTS[3:], 1, 1e-3), Stage("all", PARTS, 2, 5e-4))


def losses(trial):
    return [row.val_loss for row in trial.history]


@pytest.mark.parametrize("dtype", TOLERANCE)
class TestPrecision:
    def test_an_untrained_model_is_worth_what_it_is_worth_on_the_cpu(self, sample, device, dtype):
        data = TrialData.of(sample, load_processor(CHECKPOINT))
        model = load_model(CHECKPOINT, sample.names)
        expected = evaluate(model, data.val, data.collator)
        found = evaluate(model.to(device), data.val, data.collator, getattr(torch, dtype))
        assert found.losses["val_loss"] == pytest.approx(expected.losses["val_loss"], rel=TOLERANCE[dtype])

    def test_a_trial_learns_there_and_its_weights_give_its_loss_again(self, train, sample, device, dtype):
        used = torch.cuda.memory_allocated()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        recipe = Recipe(STAGES, batch_size=4, accumulation_steps=2, dtype=dtype)
        trial = train(recipe, pairs=sample, checkpoint=CHECKPOINT)
        assert trial.recipe.dtype == dtype
        assert [row.stage for row in trial.history] == [0, 1, 1]
        assert all(math.isfinite(value) for row in trial.history for value in (row.train_loss, row.val_loss))
        assert losses(trial)[-1] < losses(trial)[0]
        if device.type == "cuda":
            assert torch.cuda.max_memory_allocated() > used + 10 * 2**20, "the trial ran somewhere else"
        data = TrialData.of(sample, load_processor(CHECKPOINT))
        model = trial_model(CHECKPOINT, sample.names, recipe.seed, trial.best_weights).to(device)
        again = evaluate(model, data.val, data.collator).losses["val_loss"]
        assert again == pytest.approx(best_row(trial.history).val_loss, rel=TOLERANCE[dtype])


@pytest.mark.parametrize("signal", SIGNALS)
def test_whatever_the_model_is_given_variants_that_are_kept_train_there_as_without(
    train, sample, repeating, signal, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    augmentation = Augmentation(0.5, 0.5, variants=2)
    recipe = Recipe(STAGES, 4, 2, input=Input("auto", signal), augmentation=augmentation)
    without = train(recipe, "without", pairs=sample, checkpoint=CHECKPOINT)
    kept = train(recipe, "kept", pairs=sample, checkpoint=CHECKPOINT, reuse=ReuseConfig(10**9))
    assert {path.parent.name for path in (tmp_path / "cache").rglob("*.records")} >= {"variants", "activations"}
    assert losses(kept) == pytest.approx(losses(without), rel=1e-3)
    assert losses(kept)[-1] < losses(kept)[0]


def test_auto_is_what_the_gpu_has(train, device):
    has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    trial = train(Recipe(STAGES[:1], dtype="auto"))
    assert trial.recipe.dtype == ("bfloat16" if has_bfloat16 else "float32")


class TestLoaderWorkers:
    RECIPE = Recipe(STAGES, batch_size=2, accumulation_steps=1)

    def test_they_change_nothing_and_end_with_the_trial(self, train, device, repeating):
        alone = train(self.RECIPE, "alone")
        beside = train(self.RECIPE, "beside", compute=Compute(device, 1, workers=2))
        assert losses(beside) == pytest.approx(losses(alone), rel=1e-3)
        assert not psutil.wait_procs(psutil.Process().children(recursive=True), timeout=5)[1]

    @pytest.mark.parametrize("workers", [0, 2])
    def test_batches_are_pinned_and_arrive_on_the_gpu_a_micro_batch_at_a_time(
        self, pair_data, checkpoint, tmp_path, device, on_gpu, monkeypatch, workers
    ):
        data = TrialData.of(pair_data, load_processor(checkpoint))
        model = load_model(checkpoint, pair_data.names).to(device)
        arrived, compute_loss = [], StageTrainer.compute_loss

        def spied(trainer, model, inputs, *arguments, **named):
            values = (inputs["pixel_values"], inputs["pixel_mask"], inputs["labels"][0]["boxes"])
            arrived.append((len(inputs["labels"]), *(value.device.type for value in values)))
            return compute_loss(trainer, model, inputs, *arguments, **named)

        monkeypatch.setattr(StageTrainer, "compute_loss", spied)
        recipe = Recipe((replace(STAGES[1], epochs=1),), batch_size=2, accumulation_steps=4, micro_batch=3)
        trainer = StageTrainer(model, recipe, 0, data, tmp_path, workers, [])
        try:
            trainer.train()
            assert arrived == [(images, "cuda", "cuda", "cuda") for images in (3, 3, 2)]
            for batches in (trainer.train_batches, evaluation_batches(data.val, data.collator, device)):
                for batch in batches:
                    assert batch["pixel_values"].is_pinned() and batch["labels"][0]["boxes"].is_pinned()
            trainer.evaluate_data_set()
        finally:
            trainer.close()

    def test_a_batch_that_is_still_on_its_way_is_waited_for(self, pair_data, checkpoint, device):
        """Pinned memory is copied beside the computation: were a batch used too early, figures would move."""
        data = TrialData.of(pair_data, load_processor(checkpoint))
        model = load_model(checkpoint, pair_data.names).to(device)
        pinned = evaluation_batches(data.val, data.collator, device)
        plain = evaluation_batches(data.val, data.collator, CPU)
        assert evaluate_batches(model, pinned).losses == pytest.approx(evaluate_batches(model, plain).losses, rel=1e-5)


class TestResume:
    RECIPE = Recipe((STAGES[0], Stage("all", PARTS, 5, 2e-3)), batch_size=2, accumulation_steps=2)

    class KilledError(Exception):
        """Stands for a process that ends here."""

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_a_trial_that_is_broken_off_after_each_epoch_ends_as_the_unbroken_one(
        self, train, make_checkpoint, repeating, monkeypatch, dtype
    ):
        """The model has much dropout, so that the GPU's random state counts; float16 has a gradient scaler's state.

        To the last bit is a CPU's promise: a GPU adds up some sums in another order each time. A random state or an
        optimizer that was not restored moves a loss by 4e-3 and more.
        """
        recipe = replace(self.RECIPE, dtype=dtype)
        given = {"reuse": ReuseConfig(checkpoint_seconds=0), "checkpoint": make_checkpoint(dropout=0.5)}
        unbroken = train(recipe, "unbroken", **given)
        original, went_on_from = StageTrainer.train, []

        def noted(trainer, resume_from_checkpoint=None):
            went_on_from.append(resume_from_checkpoint)
            return original(trainer, resume_from_checkpoint=resume_from_checkpoint)

        monkeypatch.setattr(StageTrainer, "train", noted)
        for epoch in range(1, len(unbroken.history)):
            rows = []

            def report(row, rows=rows, epoch=epoch):
                rows.append(row)
                if len(rows) == epoch:
                    raise self.KilledError

            with pytest.raises(self.KilledError):
                train(recipe, "broken", report, **given)
        broken = train(recipe, "broken", **given)
        assert any(went_on_from), "no checkpoint was gone on from"
        assert [row.epoch for row in broken.history] == [row.epoch for row in unbroken.history]
        for name in ("train_loss", "val_loss"):
            expected, found = ([getattr(row, name) for row in trial.history] for trial in (unbroken, broken))
            assert found == pytest.approx(expected, rel=2e-3), name
