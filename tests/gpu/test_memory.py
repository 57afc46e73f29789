"""The memory of a GPU: what it does when there is not enough, and that trial after trial leaves nothing in it."""

import gc
import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from transformers import DetrImageProcessorPil

from tests.gpu.conftest import ON_CPU
from trainable.compute import Compute
from trainable.detector.loading import model_config
from trainable.detector.memory import training_memory
from trainable.model_signal import SIGNALS
from trainable.recipe import PARTS, Input, Recipe, Stage
from trainable.reuse.config import ReuseConfig
from trainable.sample import CHECKPOINT
from trainable.training.stage_trainer import StageTrainer

WARM_UP, TRIALS = 6, 20
MOST_BYTES = 2**20
"""Most bytes that a trial may add to the memory of the process, on the machine's side."""


@pytest.fixture
def large_images(tmp_path):
    """The embedded checkpoint, without dropout, for images of 800 x 1066: activations take nearly all memory."""
    folder = Path(shutil.copytree(CHECKPOINT, tmp_path / "large"))
    config = json.loads((folder / "config.json").read_text())
    without = dict.fromkeys(("dropout", "attention_dropout", "activation_dropout"), 0.0)
    (folder / "config.json").write_text(json.dumps(config | without))
    height, width = (120, 160) if ON_CPU else (800, 1066)
    DetrImageProcessorPil(size={"shortest_edge": height, "longest_edge": width}).save_pretrained(folder)
    return folder


@pytest.fixture
def memory_for_half(device, monkeypatch):
    """Leaves memory for half of 8 images at a time, given the least that the whole and the most that half of it needs.

    On a CPU the error is raised by hand.
    """
    compute_loss = StageTrainer.compute_loss

    def short(trainer, model, inputs, *args, **kwargs):
        if len(inputs["labels"]) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute_loss(trainer, model, inputs, *args, **kwargs)

    def limit(whole, half):
        if device.type == "cpu":
            monkeypatch.setattr(StageTrainer, "compute_loss", short)
            return
        assert whole > 1.3 * half, "the batch must be what takes the memory"
        _, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction(1.15 * half / total)

    yield limit
    if device.type == "cuda":
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_where_it_is_not_enough_half_as_many_images_go_at_a_time_and_the_recipe_stays(
    train, large_images, memory_for_half, device, caplog
):
    def trained(micro_batch):
        recipe = Recipe((Stage("all", PARTS, 1, 1e-4),), 2, 4, micro_batch)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        trial = train(recipe, f"{micro_batch}-at-a-time", checkpoint=large_images)
        return trial, torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()

    _, _, half_reserved = trained(4)
    whole, whole_allocated, _ = trained(8)
    gc.collect()
    torch.cuda.empty_cache()
    memory_for_half(whole_allocated, half_reserved)
    trial = train(whole.recipe, "short", checkpoint=large_images)
    if device.type == "cuda":
        assert torch.cuda.memory_stats()["num_ooms"] > 0
    assert "ran out of memory in stage 'all'; it goes on with 4 of a step's images at a time" in caplog.text
    assert trial.recipe == replace(whole.recipe, micro_batch=4)
    expected, found = ([row.val_loss for row in one.history] for one in (whole, trial))
    assert found == pytest.approx(expected, rel=1e-2)


@pytest.mark.parametrize("signal", SIGNALS)
def test_the_estimate_by_which_a_micro_batch_is_chosen_is_not_too_low(train, large_images, pair_data, on_gpu, signal):
    def peak(images):
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        recipe = Recipe((Stage("all", PARTS, 1, 1e-4),), 2, 4, images, input=Input(signal=signal))
        train(recipe, f"{images}-at-a-time", checkpoint=large_images)
        return torch.cuda.max_memory_allocated()

    foretold = training_memory(model_config(large_images), (1066, 1066), device="cuda", signal=signal)
    assert (peak(8) - peak(4)) / 4 < foretold.image


def held() -> dict[str, int]:
    """What this process holds that must not grow."""
    gc.collect()
    torch.cuda.empty_cache()
    return {
        "GPU bytes": torch.cuda.memory_allocated(),
        "GPU bytes reserved": torch.cuda.memory_reserved(),
        "open files": psutil.Process().num_fds(),
        "threads": threading.active_count(),
        "processes": len(psutil.Process().children(recursive=True)),
    }


def test_after_20_trials_it_is_as_it_was(train, device):
    """Trials complete, are stopped and fail in turn; loader workers and pinned memory among what they leave."""
    process, endings, after = psutil.Process(), [], []
    for number in range(TRIALS):
        ending = ("completed", "stopped", "failed")[number % 3]

        def stop(row, ending=ending):
            if ending == "stopped" and row.epoch == 2:
                raise SystemExit  # as Ray ends a trial

        recipe = Recipe(
            (Stage("heads", PARTS[3:], 1, 1e-4 * (number + 1)), Stage("all", PARTS, 2, 1e-3)),
            accumulation_steps=1,
            backbone_learning_rate_factor=9e18 if ending == "failed" else 1.0,
        )
        given = {"reuse": ReuseConfig(checkpoint_seconds=0), "compute": Compute(device, 1, workers=2)}
        try:
            train(recipe, f"{number:04d}", stop, **given)
            endings.append("completed")
        except SystemExit:
            endings.append("stopped")
        except FloatingPointError:
            endings.append("failed")
        after.append((held(), process.memory_info().rss))
    assert endings == (["completed", "stopped", "failed"] * TRIALS)[:TRIALS]
    for warm, last in zip(range(WARM_UP - 3, WARM_UP), (TRIALS - 2, TRIALS - 1, TRIALS - 3), strict=True):
        assert endings[last] == endings[warm] and after[last][0] == after[warm][0]
    assert (after[-1][1] - after[WARM_UP - 1][1]) / (TRIALS - WARM_UP) < MOST_BYTES
