import pytest
import torch
from transformers.loss.loss_for_object_detection import HungarianMatcher

from tests.tiny_detectors import labels_of
from trainable.detector.loading import load_model
from trainable.detector.loss import (
    LossAccumulator,
    LossNormalisers,
    _matches,
    criterion_of,
    forward,
    loss_normalisers,
    scaled_loss,
)

NAMES = ("person", "car")


def batch_of(counts, height=48, width=64):
    pixel_values = torch.randn(len(counts), 3, height, width, generator=torch.Generator().manual_seed(7))
    pixel_mask = torch.ones(len(counts), height, width, dtype=torch.int64)
    pixel_mask[0, :, width // 2 :] = 0
    return {"pixel_values": pixel_values, "pixel_mask": pixel_mask, "labels": labels_of(counts)}


def parts(batch, sizes):
    start = 0
    for size in sizes:
        yield {name: value[start : start + size] for name, value in batch.items()}
        start += size


def gradients(model):
    """Of all parameters, which are then without any."""
    found = [torch.zeros_like(each) if each.grad is None else each.grad.clone() for each in model.parameters()]
    model.zero_grad()
    return found


@pytest.fixture(params=[False, True], ids=["plain", "auxiliary"])
def model(request, make_checkpoint):
    return load_model(make_checkpoint(auxiliary_loss=request.param), NAMES).eval()


def test_totals_are_what_detr_divides_by(model):
    config = model.config
    assert (config.num_queries, config.eos_coefficient) == (6, 0.1)
    # 1 + 0 + 6 queries have a label (two of the 8 labels of the last image find none), the other 11 have not.
    totals = loss_normalisers(labels_of([1, 0, 8]), criterion_of(config))
    assert totals.class_weight == pytest.approx(7 + 0.1 * 11)
    assert totals.boxes == 9
    assert loss_normalisers(labels_of([0, 0]), criterion_of(config)) == LossNormalisers(pytest.approx(1.2), 1)


def test_outputs_are_transformers_own(model):
    batch = batch_of([2, 0, 1])
    with torch.no_grad():
        result, expected = forward(model, batch), model(**batch)
    assert torch.equal(result.logits, expected.logits)
    assert torch.equal(result.boxes_cxcywh_normalised, expected.pred_boxes)


@pytest.mark.parametrize("counts", [(2, 0, 1), (0, 8, 0), (0, 0)], ids=str)
def test_terms_of_all_layers_at_once_are_transformers_own_of_one_after_the_other(model, counts):
    batch = batch_of(counts)
    with torch.no_grad():
        terms, expected = forward(model, batch).terms, model(**batch).loss_dict
    totals = loss_normalisers(batch["labels"], criterion_of(model.config))
    layers = ["_0", ""] if model.config.auxiliary_loss else [""]
    assert {f"loss_ce{layer}" for layer in layers} == {name for name in expected if "loss_ce" in name}
    of_layers = {
        "loss_ce": terms.classes / totals.class_weight,
        "loss_bbox": terms.bbox / totals.boxes,
        "loss_giou": terms.giou / totals.boxes,
    }
    for name, found in of_layers.items():
        assert found.tolist() == pytest.approx([expected[f"{name}{layer}"].item() for layer in layers], rel=1e-6), name


@pytest.mark.parametrize("counts", [(2, 0, 1), (0, 8, 0), (0, 0)], ids=str)
def test_gradients_are_those_of_transformers_own_loss(model, counts):
    batch = batch_of(counts)
    model(**batch).loss.backward()
    expected = gradients(model)
    totals = loss_normalisers(batch["labels"], criterion_of(model.config))
    scaled_loss(forward(model, batch).terms, totals, criterion_of(model.config)).backward()
    torch.testing.assert_close(gradients(model), expected, rtol=1e-6, atol=1e-6 * max(map(torch.max, expected)).item())


def test_matches_are_transformers_own_to_the_last_bit_of_their_costs(model):
    """Over many random outputs, with costs so close that a bit more or less would give other matches."""
    generator = torch.Generator().manual_seed(1)
    labels = labels_of((3, 0, 8, 1))
    matcher = HungarianMatcher(model.config.class_cost, model.config.bbox_cost, model.config.giou_cost)
    for _ in range(50):
        close = 1 + torch.randint(-1, 2, (3, 4, 6, 4), generator=generator) * 2**-23
        boxes = 0.5 * torch.rand(3, 4, 1, 4, generator=generator) * close
        logits = torch.randn(3, 4, 1, 3, generator=generator).expand(-1, -1, 6, -1)
        taking, taken = _matches(logits, boxes, labels, criterion_of(model.config))
        for layer in range(3):
            matches = matcher({"logits": logits[layer], "pred_boxes": boxes[layer]}, labels)
            queries = torch.cat([query + 6 * (4 * layer + image) for image, (query, _) in enumerate(matches)])
            of_images = torch.cat([label + (0, 3, 3, 11)[image] for image, (_, label) in enumerate(matches)])
            assert torch.equal(taking[layer], queries)
            assert torch.equal(taken[layer], of_images)


def test_without_auxiliary_layers_the_last_ones_terms_are_the_same(model):
    batch = batch_of((2, 0, 1))
    with torch.no_grad():
        every, last = forward(model, batch), forward(model, batch, auxiliary=False)
    assert len(last.terms.giou) == 1
    assert torch.equal(last.logits, every.logits)
    for name in ("classes", "bbox", "giou"):
        assert getattr(last.terms, name).tolist() == pytest.approx(getattr(every.terms, name)[-1:].tolist(), rel=1e-6)


def test_two_points_for_boxes_are_matched_last_and_never_raise(model):
    """Their GIoU is no number, which scipy refuses; the loss says so, where it is one of theirs."""
    labels = [{"class_labels": torch.tensor([0]), "boxes": torch.tensor([[0.5, 0.5, 0.0, 0.0]])}]
    boxes = torch.tensor([0.5, 0.5, 0.0, 0.0]).repeat(1, 1, 6, 1)
    boxes[..., 4, :] = torch.tensor([0.1, 0.1, 0.1, 0.1])
    taking, _ = _matches(torch.zeros(1, 1, 6, 3), boxes, labels, criterion_of(model.config))
    assert taking.tolist() == [[4]]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3), (4, 1), (5,)], ids=str)
@pytest.mark.parametrize("counts", [(2, 0, 1, 3, 1), (0, 0, 8, 0, 0), (0, 0, 0, 0, 0)], ids=str)
def test_shares_of_the_batches_add_up_to_the_loss_of_their_union(model, counts, sizes):
    whole = batch_of(counts)
    with torch.no_grad():
        expected = model(**whole).loss
        totals = loss_normalisers(whole["labels"], criterion_of(model.config))
        shares = [
            scaled_loss(forward(model, part).terms, totals, criterion_of(model.config)) for part in parts(whole, sizes)
        ]
    assert sum(shares).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3), (5,)], ids=str)
@pytest.mark.parametrize("counts", [(2, 0, 1, 3, 1), (0, 0, 8, 0, 0), (0, 0, 0, 0, 0)], ids=str)
def test_sums_divided_once_are_the_last_layers_loss_of_the_union(model, counts, sizes):
    whole = batch_of(counts)
    sums = LossAccumulator(criterion_of(model.config))
    with torch.no_grad():
        terms = model(**whole).loss_dict
        for part in parts(whole, sizes):
            sums.add(forward(model, part).terms, part["labels"])
    losses = sums.losses()
    ce, bbox, giou = (terms[name].item() for name in ("loss_ce", "loss_bbox", "loss_giou"))
    assert losses["val_loss"] == pytest.approx(ce + 5 * bbox + 2 * giou, rel=1e-5)
    assert losses["val_loss_ce"] == pytest.approx(ce, rel=1e-5)
    assert losses["val_loss_bbox"] == pytest.approx(bbox, rel=1e-5)
    assert losses["val_loss_giou"] == pytest.approx(giou, rel=1e-5)


def test_the_mean_over_batches_would_be_another_loss(model):
    """What the sums are for: were this equal, the tests above could not fail."""
    whole = batch_of((2, 0, 1, 3, 1))
    with torch.no_grad():
        mean = sum(model(**part).loss.item() for part in parts(whole, (4, 1))) / 2
        assert mean != pytest.approx(model(**whole).loss.item(), rel=1e-2)


def test_outputs_that_are_not_finite_are_met_before_the_matcher(model):
    with torch.no_grad():
        model.class_labels_classifier.bias[0] = torch.nan
    with pytest.raises(FloatingPointError, match="the model's outputs are not finite"):
        forward(model, batch_of([1]))


def test_matching_and_loss_are_in_float32_under_autocast(model):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = forward(model, batch_of([2, 1]))
    assert result.logits.dtype == result.boxes_cxcywh_normalised.dtype == torch.float32
    assert {term.dtype for term in vars(result.terms).values()} == {torch.float32}
