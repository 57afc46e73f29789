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
    whole = evaluate(model, dataset, collator, per_image=True)
    alone = [evaluate(model, Subset(dataset, [index]), collator) for index in range(len(dataset))]
    assert whole.image_losses == pytest.approx([each.losses["val_loss"] for each in alone], rel=1e-5)
    assert len(set(whole.image_losses)) == len(dataset)


def test_image_losses_change_nothing_else(make_checkpoint: Callable[..., Path], pair_data: PairData) -> None:
    checkpoint = make_checkpoint()
    model, dataset = (
        load_model(checkpoint, pair_data.names),
        MovedObjectDataset(pair_data.val, load_processor(checkpoint)),
    )
    collator = PairCollator(*padded_size(pair_data.val, dataset.processor))
    plain, more = (evaluate(model, dataset, collator, per_image=asked) for asked in (False, True))
    assert plain.losses == more.losses
    assert plain.image_losses == []
    for before, after in zip(plain.detections, more.detections, strict=True):
        assert before.scores.tolist() == after.scores.tolist()
