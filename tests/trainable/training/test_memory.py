"""How many images have room is foretold from the model, the size of its images and the memory, and nothing else."""

import shutil

import pytest
import torch
from transformers import DetrImageProcessorPil

from trainable.detector.loading import load_model
from trainable.detector.parts import freeze_all_but
from trainable.recipe import PARTS
from trainable.sample import CHECKPOINT
from trainable.training.memory import (
    MOST_ON_CPU,
    MOST_ON_GPU,
    PASSING,
    SHARE,
    activation_bytes,
    largest_that_fits,
    micro_batch_that_fits,
)

MIB = 2**20


@pytest.fixture
def model():
    return load_model(CHECKPOINT, ("a", "b"))


def kept_by_a_step(model, images, size):
    """Bytes that a training pass of so many images keeps, weights aside."""
    freeze_all_but(model, PARTS)
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept = {}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    pixels, mask = torch.zeros(images, 3, *size), torch.ones(images, *size, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.train()(pixel_values=pixels, pixel_mask=mask)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def test_what_an_image_takes_is_what_a_batch_keeps_of_each(model):
    assert 4 * activation_bytes(model, (96, 128)) == pytest.approx(kept_by_a_step(model, 4, (96, 128)), rel=0.02)


def test_large_images_are_reckoned_by_area_and_never_too_low(model):
    counted = kept_by_a_step(model, 1, (800, 1066))
    assert counted <= activation_bytes(model, (800, 1066)) < 1.15 * counted


def test_it_draws_nothing_and_is_the_same_each_time(model):
    state = torch.get_rng_state()
    assert activation_bytes(model, (96, 128)) == activation_bytes(model, (96, 128))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("memory", "most", "expected"),
    [
        (int((400 + 16 * PASSING * 10) * MIB / SHARE) + MIB, MOST_ON_CPU, 16),
        (int((400 + 16 * PASSING * 10) * MIB / SHARE) - MIB, MOST_ON_CPU, 8),
        (10**15, MOST_ON_CPU, MOST_ON_CPU),
        (10**15, MOST_ON_GPU, MOST_ON_GPU),
        (0, MOST_ON_GPU, 1),
    ],
)
def test_it_is_the_largest_power_of_two_that_leaves_room_for_weights_gradients_and_the_optimizer(
    memory, most, expected
):
    assert largest_that_fits(100 * MIB, 10 * MIB, memory, most) == expected


def test_larger_images_and_less_memory_leave_room_for_fewer(pair_data, tmp_path):
    def that_fit(size, memory, on_gpu=False):
        folder = shutil.copytree(CHECKPOINT, tmp_path / f"{size}", dirs_exist_ok=True)
        DetrImageProcessorPil(size={"shortest_edge": size, "longest_edge": 2 * size}).save_pretrained(folder)
        return micro_batch_that_fits(pair_data, str(folder), 0, memory, on_gpu)

    assert [that_fit(size, 2**30) for size in (96, 800)] == [16, 2]
    assert [that_fit(800, memory) for memory in (2**29, 2**32, 2**40)] == [1, 8, 16]
    assert that_fit(96, 2**30, on_gpu=True) > 16
