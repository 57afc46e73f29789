"""The memory that training is foretold to take, beside what torch really keeps for the backward pass."""

from dataclasses import replace

import pytest
import torch
from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

from tests.tiny_detectors import kept_for_backward
from trainable.detector.loading import load_model
from trainable.detector.memory import IN_USE, MOST_AT_A_TIME, SHARE, TrainingMemory, micro_batch_within, training_memory
from trainable.detector.parts import freeze_all_but, set_modes
from trainable.detector.signal_models import signal_of_config, with_signal
from trainable.model_signal import CHANNELS, SIGNALS
from trainable.recipe import PARTS
from trainable.sample import CHECKPOINT

HEADS = ("box_head", "class_head")


@pytest.fixture(scope="module", params=["embedded", "r50"])
def model(request):
    if request.param == "embedded":
        return load_model(CHECKPOINT, ["thing"])
    backbone = ResNetConfig(depths=[3, 4, 6, 3], out_features=["stage4"])
    return DetrForObjectDetection(DetrConfig(backbone_config=backbone, use_timm_backbone=False))


def kept_by_an_image(model, trainable, height, width):
    """Bytes that a forward pass of one image keeps beside the model itself."""
    freeze_all_but(model, trainable)
    set_modes(model, trainable)
    image = torch.rand(1, CHANNELS[signal_of_config(model.config)], height, width)
    mask = torch.ones(1, height, width, dtype=torch.int64)
    mask[:, -1] = 0
    return kept_for_backward(model, lambda: model(image, mask))


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("trainable", [PARTS, PARTS[1:]], ids=lambda parts: parts[0])
def test_what_backward_needs_of_an_image_is_foretold_to_a_tenth(model, trainable, signal):
    foretold = training_memory(model.config, (192, 256), trainable, signal=signal)
    kept = kept_by_an_image(with_signal(model, signal), trainable, 192, 256)
    assert foretold.image == pytest.approx(max(IN_USE * kept, kept + foretold.evaluated_image), rel=0.1)


def test_weights_gradients_and_moments_are_counted_once_each(model):
    size = sum(value.numel() for value in model.parameters()) * 4
    everything, on_gpu = (training_memory(model.config, (96, 128), device=device) for device in ("cpu", "cuda"))
    heads = training_memory(model.config, (96, 128), HEADS)
    head_size = sum(value.numel() for name, value in model.named_parameters() if name.split(".")[0] != "model") * 4
    assert everything.fixed - heads.fixed == 3 * (size - head_size)
    assert everything.fixed - on_gpu.fixed == size + 2 * 10**8, "a CPU's process keeps the start weights, too"


def test_frozen_parts_take_less(model):
    taken = [training_memory(model.config, (192, 256), parts) for parts in (PARTS, PARTS[1:], HEADS)]
    assert taken[0].image > taken[1].image >= taken[2].image > 0
    assert taken[0].fixed > taken[1].fixed > taken[2].fixed


def test_as_many_images_fit_as_are_foretold_to_take_no_more():
    memory = TrainingMemory(fixed=100, image=30, evaluated_image=7)
    assert memory.of(4) == 220
    assert memory.of(1, evaluated=8) == 156, "evaluating takes more than training here"
    assert [memory.images_within(room) for room in (220, 219.5, 129, 0)] == [4, 3, 0, 0]
    assert replace(memory, fixed=0).images_within(90) == 3


MIB = 2**20
ROOM_FOR_16 = int((400 + 16 * 10) * MIB / SHARE)


@pytest.mark.parametrize(
    ("memory", "device", "expected"),
    [
        (ROOM_FOR_16 + MIB, "cuda", 16),
        (ROOM_FOR_16 - MIB, "cuda", 8),
        (10**15, "cpu", MOST_AT_A_TIME["cpu"]),
        (10**15, "cuda", MOST_AT_A_TIME["cuda"]),
        (0, "cuda", 1),
    ],
)
def test_at_a_time_go_as_many_as_leave_room_to_spare_by_powers_of_two(memory, device, expected):
    takes = TrainingMemory(fixed=400 * MIB, image=10 * MIB, evaluated_image=MIB)
    assert micro_batch_within(memory, takes, device) == expected


def test_larger_images_and_less_memory_leave_room_for_fewer(model):
    def that_fit(edge, memory):
        takes = training_memory(model.config, (edge, 4 * edge // 3))
        return micro_batch_within(memory, takes, "cpu")

    at_a_time = [that_fit(96, 2**34), that_fit(800, 2**33), that_fit(800, 2**32), that_fit(800, 2**29)]
    assert at_a_time == sorted(at_a_time, reverse=True)
    assert at_a_time[0] == MOST_AT_A_TIME["cpu"] > at_a_time[2] >= at_a_time[3] == 1
