"""How many images have room is foretold from the model, the size of its images and the memory, and nothing else."""

import shutil

import pytest
from transformers import DetrImageProcessorPil

from trainable.detector.memory import TrainingMemory
from trainable.sample import CHECKPOINT
from trainable.training.memory import MOST_ON_CPU, MOST_ON_GPU, SHARE, micro_batch_that_fits

MIB = 2**20
ROOM_FOR_16 = int((400 + 16 * 10) * MIB / SHARE)


@pytest.mark.parametrize(
    ("memory", "on_gpu", "expected"),
    [
        (ROOM_FOR_16 + MIB, True, 16),
        (ROOM_FOR_16 - MIB, True, 8),
        (10**15, False, MOST_ON_CPU),
        (10**15, True, MOST_ON_GPU),
        (0, True, 1),
    ],
)
def test_it_is_the_largest_power_of_two_that_leaves_room_to_spare(pair_data, monkeypatch, memory, on_gpu, expected):
    takes = TrainingMemory(fixed=400 * MIB, image=10 * MIB, evaluated_image=MIB)
    monkeypatch.setattr("trainable.training.memory.training_memory", lambda *_, **__: takes)
    assert micro_batch_that_fits(pair_data, str(CHECKPOINT), None, memory, on_gpu) == expected


def test_larger_images_and_less_memory_leave_room_for_fewer(pair_data, tmp_path):
    def that_fit(size, memory, on_gpu=False):
        folder = shutil.copytree(CHECKPOINT, tmp_path / f"{size}", dirs_exist_ok=True)
        DetrImageProcessorPil(size={"shortest_edge": size, "longest_edge": 2 * size}).save_pretrained(folder)
        return micro_batch_that_fits(pair_data, str(folder), None, memory, on_gpu)

    assert that_fit(96, 2**32) == MOST_ON_CPU > that_fit(800, 2**32) > that_fit(800, 2**31) > 0
    assert micro_batch_that_fits(pair_data, str(CHECKPOINT), 800, 2**31, False) == that_fit(800, 2**31)
    assert that_fit(800, 2**29) == 1
    assert that_fit(96, 2**32, on_gpu=True) > MOST_ON_CPU
