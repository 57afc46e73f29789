"""Training pairs are other ones in every epoch, the same whoever loads them, and validation pairs stay as they are."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from trainable.data.annotations import Labels
from trainable.data.augmentation import Changes
from trainable.data.augmented_pairs import AugmentedPairs
from trainable.data.dataset import EpochSampler, MovedObjectDataset
from trainable.data.image_cache import open_image_cache
from trainable.detector.loading import load_processor
from trainable.model_signal import CHANNELS, SIGNALS
from trainable.recipe import Input

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


class TestVariants:
    @pytest.fixture
    def two(self, pair_data, processor):
        return AugmentedPairs(pair_data.train, processor, CHANGES, 5, variants=2)

    def test_they_come_in_turn_and_are_the_first_epochs_of_pairs_that_are_drawn_anew(self, two, augmented):
        assert all(same(two[epoch, 3], augmented[epoch % 2, 3]) for epoch in range(5))
        assert not same(two[0, 3], two[1, 3])

    @pytest.mark.parametrize("signal", SIGNALS)
    def test_kept_ones_are_those_made_each_time_to_the_last_bit(self, pair_data, checkpoint, tmp_path, signal):
        of = pair_data.train, load_processor(checkpoint, pair_input=Input(signal=signal)), CHANGES, 5
        made, kept = (AugmentedPairs(*of, variants=2) for _ in range(2))
        assert kept.keep(10**9, tmp_path / "cache") and kept.is_kept and not made.is_kept
        again = pickle.loads(pickle.dumps(kept))  # As it goes to a loader's worker.
        for epoch in (0, 1, 2):
            for index in range(len(made)):
                wanted = made[epoch, index]
                assert len(wanted["pixel_values"]) == CHANNELS[signal]
                assert same(kept[epoch, index], wanted) and same(again[epoch, index], wanted)
                labels = kept.labels((epoch, index))
                assert all(torch.equal(labels[name], value) for name, value in wanted["labels"].items())

    def test_a_damaged_one_is_made_anew(self, two, tmp_path):
        wanted = [two[1, index] for index in range(len(two))]
        two.keep(10**9, tmp_path / "cache")
        (file,) = (tmp_path / "cache" / "variants").glob("*.records")
        file.write_bytes(bytes(len(file.read_bytes())))
        assert all(map(same, (two[1, index] for index in range(len(two))), wanted))

    def test_without_room_they_are_made_each_time(self, two, augmented, tmp_path, caplog):
        assert not two.keep(0, tmp_path / "cache") and not two.keep(1000, tmp_path / "cache")
        assert "variants are not cached, every trial makes its own" in caplog.text
        assert same(two[3, 1], augmented[1, 1])

    def test_a_store_goes_by_all_that_it_was_drawn_from(self, pair_data, processor, checkpoint):
        pairs = pair_data.train
        others = [
            AugmentedPairs(pairs, processor, CHANGES, 5, variants=2),
            AugmentedPairs(pairs, processor, CHANGES, 6, variants=2),
            AugmentedPairs(pairs, processor, CHANGES, 5, variants=3),
            AugmentedPairs(pairs, processor, Changes(0.6, 0.7), 5, variants=2),
            AugmentedPairs(pairs[1:], processor, CHANGES, 5, variants=2),
            AugmentedPairs((replace(pairs[0], labels=Labels((), ())), *pairs[1:]), processor, CHANGES, 5, variants=2),
            AugmentedPairs(pairs, load_processor(checkpoint, 40), CHANGES, 5, variants=2),
        ]
        assert len({each.draws for each in others}) == len(others)
