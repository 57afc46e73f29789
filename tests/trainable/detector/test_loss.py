import pytest
import torch

from trainable.detector.loading import load_model
from trainable.detector.loss import LossAccumulator, LossNormalisers, forward, loss_normalisers, scaled_loss

NAMES = ("person", "car")


def labels_of(counts):
    """Labels of images with so many boxes each."""
    generator = torch.Generator().manual_seed(3)
    return [
        {
            "class_labels": torch.randint(0, 2, (count,), generator=generator),
            "boxes": 0.2 + 0.3 * torch.rand(count, 4, generator=generator),
        }
        for count in counts
    ]


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


@pytest.fixture(params=[False, True], ids=["plain", "auxiliary"])
def model(request, make_checkpoint):
    return load_model(make_checkpoint(auxiliary_loss=request.param), NAMES).eval()


def test_totals_are_what_detr_divides_by(model):
    config = model.config
    assert (config.num_queries, config.eos_coefficient) == (6, 0.1)
    # 1 + 0 + 6 queries have a label (two of the 8 labels of the last image find none), the other 11 have not.
    totals = loss_normalisers(labels_of([1, 0, 8]), config)
    assert totals.class_weight == pytest.approx(7 + 0.1 * 11)
    assert totals.boxes == 9
    assert loss_normalisers(labels_of([0, 0]), config) == LossNormalisers(pytest.approx(1.2), 1)


def test_forward_is_transformers_own_with_its_loss_terms(model):
    batch = batch_of([2, 0, 1])
    with torch.no_grad():
        result, expected = forward(model, batch), model(**batch)
    assert torch.equal(result.logits, expected.logits)
    assert torch.equal(result.boxes_cxcywh_normalised, expected.pred_boxes)
    assert result.terms.keys() == expected.loss_dict.keys()
    assert all(torch.equal(result.terms[name], term) for name, term in expected.loss_dict.items())
    assert ("loss_ce_0" in result.terms) == model.config.auxiliary_loss


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3), (4, 1), (5,)], ids=str)
@pytest.mark.parametrize("counts", [(2, 0, 1, 3, 1), (0, 0, 8, 0, 0), (0, 0, 0, 0, 0)], ids=str)
def test_shares_of_the_batches_add_up_to_the_loss_of_their_union(model, counts, sizes):
    whole = batch_of(counts)
    with torch.no_grad():
        expected = model(**whole).loss
        totals = loss_normalisers(whole["labels"], model.config)
        shares = [
            scaled_loss(
                forward(model, part).terms, loss_normalisers(part["labels"], model.config), totals, model.config
            )
            for part in parts(whole, sizes)
        ]
    assert sum(shares).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 3), (5,)], ids=str)
@pytest.mark.parametrize("counts", [(2, 0, 1, 3, 1), (0, 0, 8, 0, 0), (0, 0, 0, 0, 0)], ids=str)
def test_sums_divided_once_are_the_last_layers_loss_of_the_union(model, counts, sizes):
    whole = batch_of(counts)
    sums = LossAccumulator(model.config)
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
    assert {term.dtype for term in result.terms.values()} == {torch.float32}
