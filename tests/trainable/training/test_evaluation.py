import dataclasses

import pytest
import torch

import trainable.training.evaluation
from trainable.data.trial_data import TrialData
from trainable.detector.loading import load_model, load_processor
from trainable.reuse.frozen_features import use_frozen_features
from trainable.training.evaluation import evaluate, evaluation_batch_size, evaluation_batches


@pytest.fixture(params=[False, True], ids=["plain", "auxiliary"])
def model(request, make_checkpoint):
    return load_model(make_checkpoint(auxiliary_loss=request.param), ("person", "car"))


@pytest.fixture(scope="module")
def data(pair_data, make_checkpoint):
    """All pairs as the validation set: images of two sizes, two without boxes."""
    pairs = dataclasses.replace(pair_data, val=(*pair_data.train, *pair_data.val))
    assert {pair.size for pair in pairs.val} == {(64, 48), (48, 64)}
    assert sum(not pair.labels.class_ids for pair in pairs.val) == 2
    return TrialData.of(pairs, load_processor(make_checkpoint()))


def one_batch(model, data):
    """transformers' own loss terms of the whole set taken as one batch."""
    model.eval()
    with torch.no_grad():
        terms = model(**data.collator([data.val[index] for index in range(len(data.val))])).loss_dict
    return tuple(terms[name].item() for name in ("loss_ce", "loss_bbox", "loss_giou"))


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_val_loss_is_the_last_layers_loss_of_the_set_as_one_batch(monkeypatch, model, data, batch_size):
    monkeypatch.setattr(trainable.training.evaluation, "evaluation_batch_size", lambda *_: batch_size)
    losses = evaluate(model, data.val, data.collator).losses
    ce, bbox, giou = one_batch(model, data)
    assert losses["val_loss"] == pytest.approx(ce + 5 * bbox + 2 * giou, rel=1e-5)
    assert losses["val_loss_ce"] == pytest.approx(ce, rel=1e-5)
    assert losses["val_loss_bbox"] == pytest.approx(bbox, rel=1e-5)
    assert losses["val_loss_giou"] == pytest.approx(giou, rel=1e-5)


@pytest.mark.parametrize(
    ("padded", "device", "images"),
    [
        ((96, 128), "cpu", 16),
        ((96, 128), "cuda", 64),
        ((300, 300), "cuda", 23),
        ((480, 640), "cuda", 8),
        ((1333, 1333), "cpu", 8),
    ],
)
def test_small_images_are_evaluated_many_at_a_time_and_large_ones_few(padded, device, images):
    assert evaluation_batch_size(padded, device) == images


def test_kept_layer_outputs_are_evaluated_as_many_at_a_time_as_the_images_that_they_are_of(
    monkeypatch, make_checkpoint, data, tmp_path
):
    """Many small values have room where few images have: were it their size that counts, batches would differ."""
    model = load_model(make_checkpoint(), ("person", "car"))
    monkeypatch.setattr(trainable.training.evaluation, "PIXELS", 10 * data.collator.height * data.collator.width)
    behind, inputs = use_frozen_features(model, ("class_head",), data, torch.float32, 10**9, tmp_path)
    for of_model, source in ((model, data), (behind, inputs)):
        batches = evaluation_batches(source.val, source.collator, of_model.device)
        assert [len(batch["labels"]) for batch in batches] == [10, 2]


def test_val_loss_does_not_move_with_the_order(model, data):
    backwards = torch.utils.data.Subset(data.val, range(len(data.val))[::-1])
    expected = evaluate(model, data.val, data.collator)
    found = evaluate(model, backwards, data.collator)
    assert found.losses == pytest.approx(expected.losses, rel=1e-5)
    assert found.scores(0.1, 0.1) == pytest.approx(expected.scores(0.1, 0.1))


def test_detections_and_truths_follow_the_order_of_the_set(model, data):
    evaluation = evaluate(model, data.val, data.collator)
    counts = [len(pair.labels.class_ids) for pair in data.val.pairs]
    assert [len(ground_truth.class_ids) for ground_truth in evaluation.ground_truth] == counts
    assert [len(detections.scores) for detections in evaluation.detections] == [6] * len(counts)


def test_a_set_in_which_nothing_moved_has_a_finite_loss(model, data):
    still = torch.utils.data.Subset(data.val, [1, 1])
    evaluation = evaluate(model, still, data.collator)
    assert evaluation.losses["val_loss"] == evaluation.losses["val_loss_ce"] > 0
    assert evaluation.scores(0.5, 0.0)["precision"] == 0


def test_evaluating_leaves_the_random_state_alone(model, data):
    model.train()
    torch.manual_seed(4)
    before = torch.get_rng_state()
    evaluate(model, data.val, data.collator)
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluating_twice_gives_the_same_bits_whatever_the_mode_was(model, data):
    model.train()
    first = evaluate(model, data.val, data.collator)
    model.train()
    assert evaluate(model, data.val, data.collator).losses == first.losses
