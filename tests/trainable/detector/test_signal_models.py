"""What a model is given of a pair changes its input, and nothing of what it is made of."""

import json

import pytest
import torch
from transformers import DetrForObjectDetection

from trainable.detector.loading import ModelError, load_model
from trainable.detector.parts import freeze_all_but
from trainable.detector.signal_models import FeatureDifferenceDetr, class_name_of
from trainable.model_signal import CHANNELS, DIFFERENCE, FEATURES, SIGNALS, STACKED
from trainable.recipe import PARTS

NAMES = ("person", "car")
MASK = torch.ones(2, 48, 64, dtype=torch.int64)


def images(channels, seed=0):
    return torch.randn(2, channels, 48, 64, generator=torch.Generator().manual_seed(seed))


def outputs(model, pixel_values):
    with torch.no_grad():
        return model.eval()(pixel_values, MASK).logits


@pytest.fixture(params=SIGNALS)
def signal(request):
    return request.param


def test_a_stacked_model_begins_with_what_the_difference_gave_whatever_the_after_image_shows(checkpoint):
    plain, stacked = load_model(checkpoint, NAMES), load_model(checkpoint, NAMES, signal=STACKED)
    both = images(6)
    assert torch.allclose(outputs(stacked, both), outputs(plain, both[:, :3]), atol=1e-6)
    assert torch.allclose(outputs(stacked, torch.cat([both[:, :3], images(3, 1)], 1)), outputs(stacked, both))


def test_the_after_image_of_a_stacked_model_is_learnt_from(checkpoint):
    model = load_model(checkpoint, NAMES, signal=STACKED)
    freeze_all_but(model, PARTS)
    model(images(6), MASK).logits.sum().backward()
    (first,) = (value for value in model.parameters() if value.ndim == 4 and value.shape[1] == 6)
    assert not first[:, 3:].any() and first.grad[:, 3:].any(1).all()


def test_of_two_equal_images_the_features_say_nothing_and_of_exchanged_ones_the_same(checkpoint):
    model = load_model(checkpoint, NAMES, signal=FEATURES)
    one, other = images(3), images(3, 1)
    same = outputs(model, torch.cat([one, one], 1))
    assert torch.equal(outputs(model, torch.cat([other, other], 1)), same)
    forward = outputs(model, torch.cat([one, other], 1))
    assert not torch.allclose(forward, same)
    assert torch.equal(outputs(model, torch.cat([other, one], 1)), forward)


def test_the_features_are_the_difference_of_the_plain_models_maps(checkpoint):
    plain, model = load_model(checkpoint, NAMES), load_model(checkpoint, NAMES, signal=FEATURES)
    both = images(6)
    with torch.no_grad():
        (given, mask), *_ = model.eval().model.backbone(both, MASK)
        (before, same_mask), (after, _) = (plain.model.backbone(each, MASK)[0] for each in both.chunk(2, 1))
    assert torch.equal(given, (after - before).abs()) and torch.equal(mask, same_mask)


def test_a_saved_model_is_loaded_as_it_was_and_for_any_signal(checkpoint, tmp_path, signal):
    model = load_model(checkpoint, NAMES, signal=signal)
    model.save_pretrained(tmp_path)
    again = load_model(tmp_path, NAMES)
    assert torch.equal(outputs(again, images(CHANNELS[signal])), outputs(model, images(CHANNELS[signal])))
    for other in SIGNALS:
        changed = load_model(tmp_path, NAMES, signal=other)
        assert outputs(changed, images(CHANNELS[other])).shape == (2, 6, 3)
        assert getattr(changed.config, "signal", DIFFERENCE) == other
    back = load_model(tmp_path, NAMES, signal=DIFFERENCE)
    plain = load_model(checkpoint, NAMES)
    assert torch.equal(outputs(back, images(3)), outputs(plain, images(3)))


def test_the_class_that_a_card_names_takes_all_of_a_models_weights(checkpoint, tmp_path, signal):
    load_model(checkpoint, NAMES, signal=signal).save_pretrained(tmp_path)
    by_name = {
        "transformers.DetrForObjectDetection": DetrForObjectDetection,
        "trainable.detector.signal_models.FeatureDifferenceDetr": FeatureDifferenceDetr,
    }
    model, loading = by_name[class_name_of(signal)].from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loading.values())
    assert torch.equal(
        outputs(model, images(CHANNELS[signal])), outputs(load_model(tmp_path, NAMES), images(CHANNELS[signal]))
    )


def test_a_signal_that_nobody_knows_is_refused(checkpoint, tmp_path):
    load_model(checkpoint, NAMES).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"signal": "smoke"}))
    with pytest.raises(ModelError, match=r"its signal must be one of difference, features, stacked, got 'smoke'"):
        load_model(tmp_path, NAMES)
