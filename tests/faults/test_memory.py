"""A trial that runs out of memory goes on with fewer images at a time, and fails alone where one is too much. (Memory
is made short by hand: more than so many images at a time are too much.)"""

import dataclasses

import pytest
import torch

from trainable.recipe import PARTS, Recipe, RecipeError, Stage
from trainable.reuse.config import ReuseConfig
from trainable.training.exhaustion import is_out_of_memory, with_half_micro_batch
from trainable.training.stage_trainer import StageTrainer
from trainable.training.staged_trainer import train_recipe
from trainable.training.trial_folder import TrialFolder

RECIPE = Recipe(
    (Stage("heads", PARTS[3:], epochs=1, learning_rate=1e-3), Stage("all", PARTS, epochs=2, learning_rate=1e-3)),
    batch_size=2,
    accumulation_steps=2,
    micro_batch=4,
)


@pytest.fixture
def memory_for(monkeypatch):
    """Leaves memory for so many images at a time in the stages that train the backbone."""
    compute_loss = StageTrainer.compute_loss

    def limit(images):
        def short(trainer, model, inputs, *args, **kwargs):
            if "backbone" in trainer.stage.trainable and len(inputs["labels"]) > images:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return compute_loss(trainer, model, inputs, *args, **kwargs)

        monkeypatch.setattr(StageTrainer, "compute_loss", short)

    return limit


@pytest.fixture
def train(pair_data, checkpoint, tmp_path):
    def train(name, report=lambda row: None):
        return train_recipe(RECIPE, pair_data, checkpoint, tmp_path / name, report, reuse=ReuseConfig())

    return train


def losses(trial):
    return [row.val_loss for row in trial.history]


def test_it_goes_on_with_half_as_many_images_at_a_time_and_the_same_recipe(train, memory_for, caplog):
    unlimited = train("unlimited")
    memory_for(2)
    reported = []
    trial = train("limited", reported.append)
    assert "ran out of memory in stage 'all'; it goes on with 2 of a step's images at a time, which" in caplog.text
    assert trial.recipe == dataclasses.replace(RECIPE, micro_batch=2)
    assert Recipe.from_yaml(trial.path / "recipe.yaml") == trial.recipe
    assert [row.epoch for row in reported] == [1, 2, 3]
    # The small model has dropout, whose draws depend on how many go at a time; all else is the same.
    assert losses(trial)[0] == losses(unlimited)[0]
    assert losses(trial) == pytest.approx(losses(unlimited), rel=0.02)


def test_half_as_many_are_the_same_step_to_rounding(pair_data, make_checkpoint, tmp_path):
    without_dropout = make_checkpoint(("person", "car"), dropout=0.0)
    whole, half = (
        train_recipe(recipe, pair_data, without_dropout, tmp_path / str(recipe.micro_batch), lambda row: None)
        for recipe in (RECIPE, with_half_micro_batch(RECIPE))
    )
    assert losses(half) == pytest.approx(losses(whole), rel=1e-4)


def test_it_is_halved_until_one_image_is_too_much(train, memory_for, tmp_path, caplog):
    memory_for(1)
    assert train("one").recipe.images_at_a_time == 1
    memory_for(0)
    with pytest.raises(torch.OutOfMemoryError):
        train("none")
    assert Recipe.from_yaml(tmp_path / "none" / "recipe.yaml").micro_batch == 1
    assert caplog.text.count("ran out of memory") == 4


def test_a_trial_that_is_killed_afterwards_goes_on_with_half_as_many(train, memory_for, tmp_path):
    memory_for(2)

    def stop(row):
        if row.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("limited", stop)
    assert train("limited").recipe.micro_batch == 2
    with pytest.raises(RecipeError, match="another recipe's progress"):
        TrialFolder(tmp_path / "limited", dataclasses.replace(RECIPE, seed=5))


def test_one_image_at_a_time_cannot_be_halved():
    assert with_half_micro_batch(dataclasses.replace(RECIPE, micro_batch=3)).micro_batch == 1
    assert with_half_micro_batch(dataclasses.replace(RECIPE, batch_size=1, micro_batch=None)) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("size mismatch"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_running_out_of_memory_looks_like(error, expected):
    assert is_out_of_memory(error) == expected
