"""Frozen layers on a GPU: what is kept of them is what would be computed, to the last bit."""

import pytest
import torch

from trainable.data.trial_data import TrialData
from trainable.detector.loading import load_model, load_processor
from trainable.model_signal import DIFFERENCE, FEATURES
from trainable.recipe import PARTS, Input, Recipe, Stage
from trainable.reuse.config import ReuseConfig
from trainable.reuse.frozen_features import FrozenPrefix, use_frozen_features
from trainable.sample import CHECKPOINT

LEVELS = [PARTS[1:], PARTS[2:], PARTS[3:]]


@pytest.fixture(params=["float32", "bfloat16", "float16"])
def dtype(request):
    return getattr(torch, request.param)


@pytest.fixture(scope="module", params=[DIFFERENCE, FEATURES])
def signal(request):
    return request.param


@pytest.fixture(scope="module")
def data(sample, signal):
    return TrialData.of(sample, load_processor(CHECKPOINT, pair_input=Input(signal=signal)))


@pytest.fixture
def model(sample, device, signal):
    return load_model(CHECKPOINT, sample.names, signal=signal).to(device).eval()


@pytest.fixture
def fast_cudnn(monkeypatch):
    """Set as whoever wants speed sets it: algorithms are timed, and may differ from call to call."""
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)


@pytest.mark.parametrize("trainable", LEVELS, ids="+".join)
def test_what_is_kept_is_what_is_computed_each_time(model, data, dtype, trainable, fast_cudnn, tmp_path):
    kept, inputs = use_frozen_features(model, trainable, data, dtype, 10**9, tmp_path)
    assert kept is not model and inputs is not data
    behind = inputs.collator([inputs.train[index] for index in range(8)])
    whole = data.collator([data.train[index] for index in range(8)])
    # Beside a computation of another size, whose choice of algorithm must not carry over.
    with torch.no_grad():
        model(pixel_values=whole["pixel_values"].to(model.device), pixel_mask=whole["pixel_mask"].to(model.device))
    parts = PARTS[: PARTS.index(trainable[0])]
    prefix = FrozenPrefix(model, parts, (data.train, data.val), data.collator, dtype)
    for _ in range(3):
        computed = prefix.batch(whole["pixel_values"], whole["pixel_mask"])
        assert torch.equal(computed["pixel_values"].cpu(), behind["pixel_values"])
        assert torch.equal(computed["pixel_mask"].cpu(), behind["pixel_mask"])


def test_a_cpu_does_not_take_what_a_gpu_has_kept(model, data, on_gpu):
    def key(model):
        return FrozenPrefix(model, PARTS[:2], (data.train, data.val), data.collator, torch.float32).key()

    assert key(model) != key(model.cpu())


def test_a_trial_trains_from_what_is_kept_as_without(train, repeating, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stages = [Stage("+".join(parts), parts, 1, 1e-3) for parts in reversed(LEVELS)]
    recipe = Recipe((*stages, Stage("all", PARTS, 1, 1e-3)), accumulation_steps=2)
    without = train(recipe, "without")
    first = train(recipe, "first", reuse=ReuseConfig(10**9))
    again = train(recipe, "again", reuse=ReuseConfig(10**9))
    assert len(list((tmp_path / "cache").rglob("activations/*.records"))) >= 3
    for trial in (first, again):
        for found, expected in zip(trial.history, without.history, strict=True):
            assert found.val_loss == pytest.approx(expected.val_loss, rel=1e-3)
