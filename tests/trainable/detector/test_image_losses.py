"""The loss of each image alone, computed beside that of the whole set."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.data import Subset

from trainable.data.dataset import MovedObjectDataset, PairCollator, padded_size
from trainable.data.pairs import PairData
from trainable.detector.loading import load_model, load_processor
from trainable.training.evaluation import evaluate


@pytest.mark.parametrize("auxiliary_loss", [False, True])
def test_an_images_loss_is_the_val_loss_of_a_set_of_it_alone(
    auxiliary_loss: bool, make_checkpoint: Callable[..., Path], pair_data: PairData
) -> None:
    checkpoint = make_checkpoint(auxiliary_loss=auxiliary_loss)
    model, dataset = (
        load_model(checkpoint, pair_data.names),
        MovedObjectDataset(pair_data.val, load_processor(checkpoint)),
    )
    collator = PairCollator(*padded_size((*pair_data.train, *pair_data.val), dataset.processor))
    whole = evaluate(model, dataset, collator)
    alone = [evaluate(model, Subset(dataset, [index]), collator) for index in range(len(dataset))]
    assert whole.image_losses == pytest.approx([each.losses["val_loss"] for each in alone], rel=1e-5)
    assert len(set(whole.image_losses)) == len(dataset)


def test_the_terms_of_all_images_add_up_to_the_loss_of_the_set(
    make_checkpoint: Callable[..., Path], pair_data: PairData
) -> None:
    checkpoint = make_checkpoint()
    dataset = MovedObjectDataset(pair_data.val, load_processor(checkpoint))
    collator = PairCollator(*padded_size(pair_data.val, dataset.processor))
    whole = evaluate(load_model(checkpoint, pair_data.names), dataset, collator)
    cross_entropy, class_weight, boxes_loss, boxes = whole.image_terms.sum(0)
    assert cross_entropy / class_weight + boxes_loss / boxes == pytest.approx(whole.losses["val_loss"], rel=1e-6)
    assert boxes == sum(len(truth.class_ids) for truth in whole.ground_truth) > 0
