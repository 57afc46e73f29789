"""The embedded data set: what is in it, and that an interrupted or damaged copy is never used."""

import hashlib
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from trainable.data.registration import registration
from trainable.sample import data_set
from trainable.sample.data_set import MOVED_CAMERA, camera_motions, is_sample, located, sample_data_set

MOVED_HASH = "49f409e8b0e1e909be5aa5b280bb3e12a6f2552d39b7c1be6478db407badab76"
SAMPLE_HASH = "6106d6db7792e21f6f91c3373a35bf08fec80348049583da1252f318db57bbb6"
"""`content_hash` of the data set that this version paints; where it changes, `data_set.VERSION` goes up."""


def content_hash(folder: Path) -> str:
    """SHA-256 of what a sample data set says: names, split, ids, labels and pixels, however its PNGs are packed."""
    digest = hashlib.sha256()
    for name in ("classes.txt", "train.txt", "val.txt"):
        digest.update((folder / name).read_text(encoding="utf-8").encode())
    for pair_id in sorted(path.stem for path in (folder / "labels").iterdir()):
        digest.update(f"{pair_id}\n{(folder / 'labels' / f'{pair_id}.txt').read_text(encoding='utf-8')}".encode())
        for side in ("before", "after"):
            with Image.open(folder / side / f"{pair_id}.png") as image:
                digest.update(image.convert("RGB").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Made:
    """A freshly painted data set and how long that took."""

    folder: Path
    seconds: float

    def ids(self, split: str) -> list[str]:
        return (self.folder / f"{split}.txt").read_text().split()

    def labels(self, pair_id: str) -> np.ndarray:
        """Class and boxes_cxcywh_normalised; shape [n, 5]."""
        lines = (self.folder / "labels" / f"{pair_id}.txt").read_text().splitlines()
        return np.array([line.split() for line in lines], dtype=float).reshape(-1, 5)

    def difference(self, pair_id: str) -> np.ndarray:
        """Largest absolute difference over the channels; int array of shape [height, width]."""
        before, after = (Image.open(self.folder / side / f"{pair_id}.png") for side in ("before", "after"))
        return np.asarray(ImageChops.difference(before, after)).astype(int).max(axis=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    start = time.monotonic()
    folder = sample_data_set(tmp_path_factory.mktemp("cache"))
    return Made(folder, time.monotonic() - start)


def test_it_is_made_in_under_30_seconds(made: Made):
    assert made.seconds < 30


def test_it_holds_the_images_that_this_version_promises(made: Made):
    assert content_hash(made.folder) == SAMPLE_HASH


def test_made_twice_it_is_the_same(made: Made, tmp_path: Path):
    assert content_hash(sample_data_set(tmp_path)) == content_hash(made.folder)


def test_one_changed_pixel_changes_the_hash_and_another_png_compression_does_not(made: Made, tmp_path: Path):
    copy = Path(shutil.copytree(made.folder, tmp_path / "copy"))
    path = copy / "after" / f"{made.ids('val')[0]}.png"
    image = Image.open(path).convert("RGB")
    image.save(path, compress_level=9)
    assert content_hash(copy) == SAMPLE_HASH
    red, green, blue = image.getpixel((5, 5))
    image.putpixel((5, 5), (red ^ 1, green, blue))
    image.save(path)
    assert content_hash(copy) != SAMPLE_HASH


def test_it_has_96_training_and_32_validation_pairs_without_overlap(made: Made):
    train, val = made.ids("train"), made.ids("val")
    assert (len(train), len(val), len({*train, *val})) == (96, 32, 128)
    for folder, suffix in (("before", ".png"), ("after", ".png"), ("labels", ".txt")):
        assert {path.name for path in (made.folder / folder).iterdir()} == {f"{i}{suffix}" for i in (*train, *val)}


@pytest.mark.parametrize("split", ["train", "val"])
def test_each_split_has_every_class_every_camera_and_still_pairs(made: Made, split: str):
    assert (made.folder / "classes.txt").read_text().split() == ["person", "car", "bike"]
    labels = [made.labels(pair_id) for pair_id in made.ids(split)]
    boxes_of_class = np.bincount(np.concatenate(labels)[:, 0].astype(int), minlength=3)
    assert boxes_of_class.min() >= 0.15 * boxes_of_class.sum()
    still = sum(len(boxes) == 0 for boxes in labels)
    assert 0.05 <= still / len(labels) <= 0.12
    assert len({pair_id.rpartition("_")[0] for pair_id in made.ids(split)}) == 8


def test_every_box_lies_inside_the_image_and_is_large_enough_for_the_sample_checkpoint(made: Made):
    boxes = np.concatenate([made.labels(pair_id) for pair_id in made.ids("train") + made.ids("val")])[:, 1:]
    centres, sizes = boxes[:, :2], boxes[:, 2:]
    assert (centres - sizes / 2).min() >= -1e-6
    assert (centres + sizes / 2).max() <= 1 + 1e-6
    # The checkpoint sees 128 x 96 pixels, and was trained on shapes of 14 pixels and more.
    assert (sizes * [128, 96]).min() >= 14


def test_every_labelled_place_differs_and_the_rest_does_not(made: Made):
    for pair_id in made.ids("train") + made.ids("val"):
        difference = made.difference(pair_id)
        outside = np.ones(difference.shape, dtype=bool)
        insides = []
        for x, y, w, h in made.labels(pair_id)[:, 1:] * [256, 192, 256, 192]:
            place = np.s_[round(y - h / 2) : round(y + h / 2), round(x - w / 2) : round(x + w / 2)]
            insides.append(difference[place].mean())
            outside[place] = False
        background = difference[outside].mean()
        assert background < 20, pair_id
        assert min(insides, default=np.inf) > background + 15, pair_id


def test_a_thing_that_only_enters_or_only_leaves_gives_one_box(made: Made):
    counts = [len(made.labels(pair_id)) for pair_id in made.ids("train")]
    assert {1, 2, 3} <= set(counts)
    assert max(counts) <= 6


def test_a_whole_data_set_is_used_at_once(made: Made, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_set, "_paint_data_set", lambda *what: pytest.fail("painted again"))
    assert sample_data_set(made.folder.parent) == made.folder


def test_an_interrupted_call_leaves_no_data_set_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(index: int, place: Image.Image) -> object:
        if index == 3:
            raise KeyboardInterrupt
        return shot(index, place)

    shot = data_set._shot
    monkeypatch.setattr(data_set, "_shot", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sample_data_set(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_copy_is_not_taken_for_a_whole_one(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(data_set, "_paint_data_set", lambda folder, paint: shutil.copytree(made.folder, folder))
    half = Path(shutil.copytree(made.folder, tmp_path / made.folder.name))
    (half / "after" / f"{made.ids('val')[-1]}.png").unlink()
    assert content_hash(sample_data_set(tmp_path)) == SAMPLE_HASH
    assert [path.name for path in tmp_path.iterdir()] == [made.folder.name]


def test_another_process_that_finishes_first_wins(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def overtaken(folder: Path, paint: object) -> None:
        folder.mkdir()
        shutil.copytree(made.folder, tmp_path / made.folder.name)

    monkeypatch.setattr(data_set, "_paint_data_set", overtaken)
    assert content_hash(sample_data_set(tmp_path)) == SAMPLE_HASH
    assert [path.name for path in tmp_path.iterdir()] == [made.folder.name]


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(tmp_path: Path):
    blocked = tmp_path / "cache"
    blocked.write_text("a file, not a folder")
    with pytest.raises(OSError, match=r"cache: the sample data set cannot be written here.*XDG_CACHE_HOME"):
        sample_data_set(blocked)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have their own rule for the cache folder")
def test_the_cache_folder_follows_xdg_cache_home(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(made.folder, tmp_path / "moved-object-search" / made.folder.name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert sample_data_set() == tmp_path / "moved-object-search" / made.folder.name


class TestMovedCamera:
    @pytest.fixture(scope="class")
    def moved(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return sample_data_set(tmp_path_factory.mktemp("cache"), MOVED_CAMERA)

    def test_it_holds_the_images_that_this_version_promises(self, moved: Path):
        assert content_hash(moved) == MOVED_HASH

    def test_its_labels_and_split_are_those_of_the_sample(self, moved: Path, made: Made):
        for name in ("classes.txt", "train.txt", "val.txt", *(f"labels/{id_}.txt" for id_ in made.ids("val"))):
            assert (moved / name).read_text() == (made.folder / name).read_text()

    def test_every_camera_moves_as_it_says(self, moved: Path, made: Made):
        motions = camera_motions()
        assert set(motions) == {*made.ids("train"), *made.ids("val")}
        for id_ in made.ids("val")[:8]:
            before, after = (Image.open(moved / side / f"{id_}.png").convert("RGB") for side in ("before", "after"))
            found = registration(before, after, "auto")
            corners = np.array([[0, 0, 1], [255, 0, 1], [255, 191, 1], [0, 191, 1]], dtype=float).T
            real, there = motions[id_] @ corners, found.matrix @ corners
            assert np.abs(real[:2] - there[:2] / there[2]).max() < 0.5

    def test_a_name_stands_for_it_unless_something_of_that_name_is_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.chdir(tmp_path)
        assert is_sample(None) and is_sample("sample") and is_sample(MOVED_CAMERA) and not is_sample("mine")
        (tmp_path / "sample").mkdir()
        assert not is_sample("sample") and located("sample") == "sample"
