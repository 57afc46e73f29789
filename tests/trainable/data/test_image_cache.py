"""The store of differences: the same items with and without it, and what it goes by."""

import dataclasses
import hashlib
import multiprocessing
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DetrImageProcessorPil

import trainable.data.image_cache
from trainable.data.annotations import Labels
from trainable.data.dataset import MovedObjectDataset
from trainable.data.difference import ImageError, difference, open_image
from trainable.data.image_cache import VERSION, open_image_cache
from trainable.data.pair import Pair
from trainable.data.pairs import images_digest
from trainable.data.resizing import resized_signal

PROCESSOR = DetrImageProcessorPil(size={"shortest_edge": 48, "longest_edge": 64})
SIZES = ((64, 48), (48, 64), (101, 37), (33, 97), (3, 5), (64, 48))
PLENTY = 10**9


def make_pairs(folder: Path, seed: int = 0) -> tuple[Pair, ...]:
    """Pairs of noise on disk, one for each of `SIZES`, which are width and height."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    pairs = []
    for index, (width, height) in enumerate(SIZES):
        before, after = folder / f"{index}-before.png", folder / f"{index}-after.png"
        for path in (before, after):
            Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        labels = Labels((0,), ((0.5, 0.5, 0.2, 0.2),))
        pairs.append(Pair(f"p{index}", before, after, (width, height), labels, images_digest(before, after)))
    return tuple(pairs)


@pytest.fixture
def pairs(tmp_path):
    return make_pairs(tmp_path / "pairs")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def made(monkeypatch):
    """The ids of the pairs whose difference was made, as they are made."""
    ids = []

    def make(pair, processor):
        ids.append(pair.id)
        return resized_signal(pair, processor)

    monkeypatch.setattr(trainable.data.image_cache, "resized_signal", make)
    return ids


def files_of(cache):
    return sorted(path.suffix for path in (cache / "differences").iterdir())


class TestItems:
    @pytest.mark.parametrize(
        "processor",
        [
            PROCESSOR,
            DetrImageProcessorPil(size={"shortest_edge": 800, "longest_edge": 1333}),
            DetrImageProcessorPil(size={"height": 41, "width": 30}, resample=3, image_mean=[0.05] * 3),
            DetrImageProcessorPil(size={"max_height": 40, "max_width": 70}, do_normalize=False),
            DetrImageProcessorPil(do_resize=False),
            DetrImageProcessorPil(do_resize=False, do_rescale=False, do_normalize=False),
        ],
    )
    def test_items_are_what_the_processor_makes_of_the_difference_to_the_last_bit(self, pairs, cache, processor):
        store = open_image_cache(pairs, processor, PLENTY, cache)
        with_store, without = MovedObjectDataset(pairs, processor, store), MovedObjectDataset(pairs, processor)
        for index, pair in enumerate(pairs):
            image = difference(open_image(pair.before), open_image(pair.after))
            whole = processor(images=image, do_pad=False, return_tensors="pt")["pixel_values"][0]
            for item in (with_store[index], without[index]):
                assert item["pixel_values"].dtype == whole.dtype and torch.equal(item["pixel_values"], whole)
            for name, value in without[index]["labels"].items():
                assert torch.equal(with_store[index]["labels"][name], value)

    def test_pixels_that_change_need_a_new_version(self, pairs):
        """Where this fails, `VERSION` must go up with it: caches of users hold what the old code made."""
        digest = hashlib.sha256(b"".join(resized_signal(pair, PROCESSOR).tobytes() for pair in pairs)).hexdigest()
        assert (VERSION, digest[:16]) == (1, "2397c4b6f6a7c7b6")

    def test_a_pair_that_the_store_was_not_opened_for_is_refused(self, pairs, cache, tmp_path):
        with pytest.raises(KeyError):
            open_image_cache(pairs, PROCESSOR, PLENTY, cache)[make_pairs(tmp_path / "others", seed=1)[0]]


class TestFilling:
    def test_each_difference_is_made_once_whoever_opens_the_store(self, pairs, cache, made):
        for _ in range(2):
            store = open_image_cache(pairs, PROCESSOR, PLENTY, cache)
            for pair in pairs:
                store[pair]
        assert sorted(made) == sorted(pair.id for pair in pairs)
        assert files_of(cache) == [".records"]

    def test_a_data_set_that_was_moved_or_split_anew_finds_its_store(self, pairs, cache, made, tmp_path):
        open_image_cache(pairs, PROCESSOR, PLENTY, cache)
        made.clear()
        folder = (tmp_path / "pairs").rename(tmp_path / "moved")
        moved = [
            dataclasses.replace(pair, before=folder / pair.before.name, after=folder / pair.after.name)
            for pair in reversed(pairs)
        ]
        open_image_cache(moved, PROCESSOR, PLENTY, cache)
        assert not made

    def test_other_settings_and_other_images_have_stores_of_their_own(self, pairs, cache, tmp_path):
        larger = DetrImageProcessorPil(size={"shortest_edge": 48, "longest_edge": 65})
        others = make_pairs(tmp_path / "others", seed=1)
        stores = {open_image_cache(*asked, PLENTY, cache).path for asked in ((pairs, PROCESSOR), (pairs, larger))}
        assert len(stores | {open_image_cache(others, PROCESSOR, PLENTY, cache).path}) == 3

    def test_several_processes_at_once_fill_it_once(self, pairs, cache, tmp_path):
        context = multiprocessing.get_context("fork")
        together = context.Barrier(3)
        workers = [context.Process(target=_open_and_check, args=(pairs, cache, together)) for _ in range(3)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=60)
        assert [worker.exitcode for worker in workers] == [0, 0, 0]
        assert len((tmp_path / "filled").read_text().split()) == len(pairs)

    def test_a_broken_image_is_named_and_no_store_is_left(self, pairs, cache):
        pairs[3].after.write_bytes(pairs[3].after.read_bytes()[:60])
        with pytest.raises(ImageError, match=r"3-after\.png: cannot be read as an image"):
            open_image_cache(pairs, PROCESSOR, PLENTY, cache)
        pairs[3].after.unlink()
        with pytest.raises(ImageError, match=r"3-after\.png"):
            open_image_cache(pairs, PROCESSOR, PLENTY, cache)
        assert files_of(cache) == []

    def test_an_image_that_changed_since_the_check_is_not_kept_under_the_old_ones_name(self, pairs, cache):
        shutil.copy(pairs[0].before, pairs[5].before)
        with pytest.raises(ImageError, match=r"5-before\.png or .*5-after\.png has changed since it was checked"):
            open_image_cache(pairs, PROCESSOR, PLENTY, cache)
        assert files_of(cache) == []

    def test_a_store_goes_to_another_process_by_pickle(self, pairs, cache, made):
        store = open_image_cache(pairs, PROCESSOR, PLENTY, cache)
        copy = pickle.loads(pickle.dumps(store))
        made.clear()
        assert all(np.array_equal(copy[pair], store[pair]) for pair in pairs) and not made


class TestDamage:
    def test_a_damaged_image_is_made_anew(self, pairs, cache, made):
        store = open_image_cache(pairs, PROCESSOR, PLENTY, cache)
        whole = store.path.read_bytes()
        store.path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        made.clear()
        assert all(np.array_equal(store[pair], resized_signal(pair, PROCESSOR)) for pair in pairs)
        assert len(made) == 1 and store.path.read_bytes() == whole


class TestRoom:
    def test_no_cache_is_no_store_and_no_folder(self, pairs, cache, caplog):
        assert open_image_cache(pairs, PROCESSOR, 0, cache) is None
        assert not cache.exists() and not caplog.text

    def test_a_data_set_larger_than_the_cache_is_not_kept_and_that_is_said(self, pairs, cache, caplog):
        assert open_image_cache(pairs, PROCESSOR, 1000, cache) is None
        assert "differences are not cached, every trial makes its own: they take" in caplog.text


def _open_and_check(pairs, cache, together):
    """A process that notes what it makes in the file `filled` beside the cache."""

    def make(pair, processor):
        with (cache.parent / "filled").open("a") as file:
            file.write(f"{pair.id}\n")
        return resized_signal(pair, processor)

    trainable.data.image_cache.resized_signal = make
    together.wait(timeout=30)
    store = open_image_cache(pairs, PROCESSOR, PLENTY, cache)
    assert all(np.array_equal(store[pair], resized_signal(pair, PROCESSOR)) for pair in pairs)
