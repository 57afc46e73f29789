import dataclasses

import pytest
import torch

import trainable.training.evaluation
from trainable.data.trial_data import TrialData
from trainable.detector.loading import load_model, load_processor
from trainable.training.evaluation import evaluate


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
    monkeypatch.setattr(trainable.training.evaluation, "EVALUATION_BATCH_SIZE", batch_size)
    losses = evaluate(model, data.val, data.collator).losses
    ce, bbox, giou = one_batch(model, data)
    assert losses["val_loss"] == pytest.approx(ce + 5 * bbox + 2 * giou, rel=1e-5)
    assert losses["val_loss_ce"] == pytest.approx(ce, rel=1e-5)
    assert losses["val_loss_bbox"] == pytest.approx(bbox, rel=1e-5)
    assert losses["val_loss_giou"] == pytest.approx(giou, rel=1e-5)


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
