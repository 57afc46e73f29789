"""Training pairs are other ones in every epoch, the same whoever loads them, and validation pairs stay as they are."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from trainable.data.augmentation import Changes
from trainable.data.augmented_pairs import AugmentedPairs
from trainable.data.dataset import EpochSampler, MovedObjectDataset
from trainable.data.image_cache import open_image_cache
from trainable.detector.loading import load_processor

CHANGES = Changes(0.6, 0.8)


@pytest.fixture
def processor(checkpoint):
    return load_processor(checkpoint)


@pytest.fixture
def augmented(pair_data, processor):
    return AugmentedPairs(pair_data.train, processor, CHANGES, seed=5)


def same(one, other):
    return torch.equal(one["pixel_values"], other["pixel_values"]) and all(
        torch.equal(one["labels"][name], other["labels"][name]) for name in ("boxes", "class_labels", "image_id")
    )


def test_an_item_depends_on_seed_epoch_and_index_alone(augmented, pair_data, processor):
    items = {(epoch, index): augmented[epoch, index] for epoch in (0, 1) for index in (3, 0)}
    again = AugmentedPairs(pair_data.train, processor, CHANGES, seed=5)
    assert all(same(again[key], item) for key, item in reversed(items.items()))
    assert not same(items[0, 3], items[1, 3])
    assert not same(AugmentedPairs(pair_data.train, processor, CHANGES, seed=6)[0, 3], items[0, 3])


def test_loader_workers_change_nothing(augmented):
    def loaded(workers):
        sampler = EpochSampler(len(augmented), seed=0)
        loader = DataLoader(augmented, 1, sampler=sampler, collate_fn=list, num_workers=workers)
        batches = []
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            batches += [batch[0] for batch in loader]
        return batches

    assert all(map(same, loaded(0), loaded(2)))


def test_the_global_random_state_is_left_alone(augmented):
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    augmented[0, 0]
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


def test_without_an_epoch_an_item_is_the_plain_one(augmented, pair_data, processor):
    plain = MovedObjectDataset(pair_data.train, processor)
    assert all(same(augmented[index], plain[index]) for index in range(len(plain)))


def test_boxes_stay_in_the_image_and_the_pixels_in_the_padded_size(augmented, pair_data, processor):
    plain = MovedObjectDataset(pair_data.train, processor)
    for epoch in range(5):
        for index in range(len(augmented)):
            item = augmented[epoch, index]
            assert item["pixel_values"].shape == plain[index]["pixel_values"].shape
            boxes = item["labels"]["boxes"]
            assert boxes.dtype == torch.float32 and item["labels"]["class_labels"].dtype == torch.int64
            assert (boxes[:, :2] - boxes[:, 2:] / 2 >= -1e-6).all() and (
                boxes[:, :2] + boxes[:, 2:] / 2 <= 1 + 1e-6
            ).all()


def test_images_come_out_of_the_store_as_from_the_disk(augmented, pair_data, processor, tmp_path):
    both = open_image_cache(pair_data.train, processor, 10**9, tmp_path / "cache", both=True)
    stored = AugmentedPairs(pair_data.train, processor, CHANGES, 5, both)
    assert all(same(stored[2, index], augmented[2, index]) for index in range(len(augmented)))
    differences = open_image_cache(pair_data.train, processor, 10**9, tmp_path / "cache")
    assert differences.path != both.path
