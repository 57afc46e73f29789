import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import DetrImageProcessorPil

from trainable.data.annotations import Labels
from trainable.data.dataset import MovedObjectDataset, PairCollator, padded_size
from trainable.data.difference import ImageError
from trainable.data.pair import Pair

PROCESSOR = DetrImageProcessorPil(size={"shortest_edge": 96, "longest_edge": 128})
BOXES = ((0.5, 0.25, 0.2, 0.1), (0.1, 0.2, 0.05, 0.06))


def pair_of_size(width, height, path=Path()):
    return Pair("a", path / "before.png", path / "after.png", (width, height), Labels((2, 0), BOXES), "")


@pytest.fixture
def make_pair_of_size(tmp_path):
    """A pair on disk whose images differ by 100 in red, in their left half only."""

    def make(width, height):
        path = tmp_path / f"{width}x{height}"
        path.mkdir()
        before = Image.new("RGB", (width, height), (50, 60, 70))
        after = before.copy()
        after.paste((150, 60, 70), (0, 0, width // 2, height))
        before.save(path / "before.png")
        after.save(path / "after.png")
        return pair_of_size(width, height, path)

    return make


def test_an_item_is_the_normalised_difference_at_the_processors_size(make_pair_of_size):
    pair = make_pair_of_size(256, 192)
    pixel_values = MovedObjectDataset([pair], PROCESSOR)[0]["pixel_values"]
    assert pixel_values.shape == (3, 96, 128)
    assert pixel_values.dtype == torch.float32
    mean, std = torch.tensor(PROCESSOR.image_mean), torch.tensor(PROCESSOR.image_std)
    moved, still = torch.tensor([100 / 255, 0, 0]), torch.zeros(3)
    assert torch.allclose(pixel_values[:, 50, 10], (moved - mean) / std, atol=1e-5)
    assert torch.allclose(pixel_values[:, 50, 120], (still - mean) / std, atol=1e-5)


@pytest.mark.parametrize(
    "processor",
    [
        PROCESSOR,
        DetrImageProcessorPil(image_mean=[0.1, 0.9, 0.3], image_std=[0.7, 0.3, 1.1], rescale_factor=1 / 127.5),
        DetrImageProcessorPil(do_normalize=False),
    ],
    ids=["usual", "another mean", "not normalised"],
)
def test_pixels_are_the_processors_own_to_the_last_bit(processor, make_pair_of_size):
    pair = make_pair_of_size(64, 48)
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    Image.new("RGB", (64, 48)).save(pair.before)
    Image.fromarray(noise).save(pair.after)
    expected = processor(images=Image.fromarray(noise), do_pad=False, return_tensors="pt")["pixel_values"][0]
    assert torch.equal(MovedObjectDataset([pair], processor)[0]["pixel_values"], expected)


def test_labels_are_the_boxes_of_the_file(make_pair_of_size):
    pairs = [make_pair_of_size(256, 192), make_pair_of_size(100, 200)]
    labels = MovedObjectDataset(pairs, PROCESSOR)[1]["labels"]
    assert labels["class_labels"].tolist() == [2, 0]
    assert labels["class_labels"].dtype == torch.int64
    assert torch.equal(labels["boxes"], torch.tensor(BOXES))
    assert labels["image_id"].tolist() == [1]


def test_a_pair_in_which_nothing_moved_has_boxes_of_shape_0_by_4(make_pair_of_size):
    pair = make_pair_of_size(64, 48)
    still = dataclasses.replace(pair, labels=Labels((), ()))
    labels = MovedObjectDataset([still], PROCESSOR)[0]["labels"]
    assert labels["boxes"].shape == (0, 4)
    assert labels["class_labels"].shape == (0,)
    assert (labels["boxes"].dtype, labels["class_labels"].dtype) == (torch.float32, torch.int64)


def test_a_processor_that_would_pad_is_kept_from_it(make_pair_of_size):
    padding = DetrImageProcessorPil(
        size={"shortest_edge": 96, "longest_edge": 128}, do_pad=True, pad_size={"height": 128, "width": 128}
    )
    item = MovedObjectDataset([make_pair_of_size(256, 192)], padding)[0]
    assert item["pixel_values"].shape == (3, 96, 128)
    assert torch.equal(item["labels"]["boxes"], torch.tensor(BOXES))


def test_an_image_that_broke_since_the_check_is_named(make_pair_of_size):
    pair = make_pair_of_size(64, 48)
    pair.after.write_bytes(pair.after.read_bytes()[:40])
    with pytest.raises(ImageError, match=r"64x48.after\.png"):
        MovedObjectDataset([pair], PROCESSOR)[0]
    pair.after.unlink()
    with pytest.raises(ImageError, match=r"64x48.after\.png"):
        MovedObjectDataset([pair], PROCESSOR)[0]


def test_images_whose_sizes_have_come_apart_are_named(make_pair_of_size):
    pair = make_pair_of_size(64, 48)
    Image.new("RGB", (48, 64)).save(pair.after)
    with pytest.raises(ImageError, match=r"after\.png: is 48 x 64 pixels now and was 64 x 48"):
        MovedObjectDataset([pair], PROCESSOR)[0]


def test_a_batch_is_padded_at_the_bottom_and_on_the_right_and_its_boxes_stay(make_pair_of_size):
    pairs = [make_pair_of_size(256, 192), make_pair_of_size(100, 200)]
    dataset = MovedObjectDataset(pairs, PROCESSOR)
    items = [dataset[0], dataset[1]]
    batch = PairCollator(*padded_size(pairs, PROCESSOR))(items)
    assert batch["pixel_values"].shape == (2, 3, 128, 128)
    assert batch["pixel_mask"].shape == (2, 128, 128)
    assert batch["pixel_mask"].dtype == torch.int64
    assert torch.equal(batch["pixel_values"][0, :, :96], items[0]["pixel_values"])
    assert batch["pixel_mask"][0, :96].all() and not batch["pixel_mask"][0, 96:].any()
    assert not batch["pixel_values"][0, :, 96:].any()
    assert torch.equal(batch["pixel_values"][1, :, :, :64], items[1]["pixel_values"])
    assert batch["pixel_mask"][1, :, :64].all() and not batch["pixel_mask"][1, :, 64:].any()
    assert all(torch.equal(labels["boxes"], torch.tensor(BOXES)) for labels in batch["labels"])


def test_an_image_is_padded_the_same_in_every_batch(make_pair_of_size):
    pairs = [make_pair_of_size(256, 192), make_pair_of_size(100, 200)]
    dataset, collate = MovedObjectDataset(pairs, PROCESSOR), PairCollator(*padded_size(pairs, PROCESSOR))
    alone, together = collate([dataset[0]]), collate([dataset[0], dataset[1]])
    assert torch.equal(alone["pixel_values"][0], together["pixel_values"][0])


def test_an_image_larger_than_the_fixed_size_is_refused(make_pair_of_size):
    items = [MovedObjectDataset([make_pair_of_size(256, 192)], PROCESSOR)[0]]
    with pytest.raises(ValueError, match=r"96x128 .* 96x127"):
        PairCollator(96, 127)(items)


def test_the_padded_size_covers_all_pairs_and_no_more():
    landscape, portrait, square = pair_of_size(256, 192), pair_of_size(100, 200), pair_of_size(50, 50)
    assert padded_size([landscape], PROCESSOR) == (96, 128)
    assert padded_size([portrait], PROCESSOR) == (128, 64)
    assert padded_size([landscape, square], PROCESSOR) == (96, 128)
    assert padded_size([landscape, portrait, square], PROCESSOR) == (128, 128)


@pytest.mark.parametrize(
    "processor",
    [
        PROCESSOR,
        DetrImageProcessorPil(size={"shortest_edge": 61, "longest_edge": 97}),
        DetrImageProcessorPil(size={"height": 40, "width": 70}),
        DetrImageProcessorPil(size={"max_height": 40, "max_width": 70}),
        DetrImageProcessorPil(do_resize=False),
    ],
)
@settings(max_examples=25, deadline=None)
@given(width=st.integers(20, 300), height=st.integers(20, 300))
def test_the_padded_size_is_what_the_processor_really_gives(processor, width, height):
    image = Image.fromarray(np.zeros((height, width, 3), dtype=np.uint8))
    pixel_values = processor(images=image, do_pad=False, return_tensors="pt")["pixel_values"]
    assert padded_size([pair_of_size(width, height)], processor) == tuple(pixel_values.shape[-2:])
