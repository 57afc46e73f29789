"""Every family of detectors trains on a GPU as on a CPU."""

import gc
import math

import pytest
import torch

from tests.tiny_detectors import CONFIGS, SQUARE_KINDS, save_tiny_detector
from trainable.data.trial_data import TrialData
from trainable.detector.loading import load_model, load_processor, model_config
from trainable.detector.loss import criterion_of, forward, loss_normalisers, scaled_loss
from trainable.detector.memory import training_memory
from trainable.detector.parts import freeze_all_but, set_modes
from trainable.recipe import PARTS, Recipe, Stage
from trainable.training.evaluation import evaluate, to_device
from trainable.training.stage_trainer import micro_batches

RECIPE = Recipe((Stage("heads", PARTS[3:], 1, 1e-3), Stage("all", PARTS, 2, 1e-3)), 4, 2)


@pytest.fixture(params=CONFIGS)
def kind(request):
    return request.param


@pytest.fixture
def tiny(kind, sample, tmp_path):
    return save_tiny_detector(kind, tmp_path / "checkpoint", sample.names)


def test_an_untrained_model_is_worth_what_it_is_worth_on_the_cpu(kind, tiny, sample, device):
    data = TrialData.of(sample, load_processor(tiny))
    model = load_model(tiny, sample.names)
    expected = evaluate(model, data.val, data.collator).losses["val_loss"]
    found = evaluate(model.to(device), data.val, data.collator).losses["val_loss"]
    # D-FINE multiplies what TF32 rounds: boxes are told as distributions, queries chosen by scores near each other.
    assert found == pytest.approx(expected, rel=5e-2 if kind == "d_fine" else 5e-3)


def test_accumulated_gradients_are_those_of_one_batch(tiny, sample, device, repeating):
    data = TrialData.of(sample, load_processor(tiny))
    model, batch = load_model(tiny, sample.names).to(device), data.collator([data.train[index] for index in range(6)])
    freeze_all_but(model, PARTS)
    set_modes(model, PARTS)
    criterion = criterion_of(model.config)
    whole = loss_normalisers(batch["labels"], criterion)

    def gradient(images):
        model.zero_grad()
        for part in micro_batches(batch, images):
            scaled_loss(forward(model, to_device(part, device)).terms, whole, criterion).backward()
        return torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])

    together = gradient(6)
    for images in (1, 4):
        assert (gradient(images) - together).norm() < 1e-2 * together.norm(), images


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_trial_learns_there(tiny, train, sample, dtype):
    recipe = Recipe(RECIPE.stages, 4, 2, dtype=dtype)
    trial = train(recipe, pairs=sample, checkpoint=tiny)
    losses = [row.val_loss for row in trial.history]
    assert [row.stage for row in trial.history] == [0, 1, 1] and all(map(math.isfinite, losses))
    assert min(losses[1:]) < losses[0]


def test_the_estimate_by_which_a_micro_batch_is_chosen_is_not_too_low(kind, tiny, sample, device, on_gpu):
    side = 512 if kind in SQUARE_KINDS else 480
    model = load_model(tiny, sample.names).to(device)
    freeze_all_but(model, PARTS)
    set_modes(model, PARTS)
    criterion = criterion_of(model.config)

    def peak(images):
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        label = {"class_labels": torch.zeros(1, dtype=torch.int64), "boxes": torch.full((1, 4), 0.5)}
        batch = {
            "pixel_values": torch.rand(images, 3, side, side),
            "pixel_mask": torch.ones(images, side, side, dtype=torch.int64),
            "labels": [label] * images,
        }
        whole = loss_normalisers(batch["labels"], criterion)
        scaled_loss(forward(model, to_device(batch, device)).terms, whole, criterion).backward()
        model.zero_grad()
        return torch.cuda.max_memory_allocated()

    peak(1)
    foretold = training_memory(model_config(tiny), (side, side), device="cuda").image
    assert (peak(8) - peak(4)) / 4 < 1.05 * foretold
