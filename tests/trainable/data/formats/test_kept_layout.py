"""Labels of other formats are a data set as they are: `--data instances.json`."""

import json
import os

import pytest

from tests.trainable.data.formats.test_convert import IS, WAS, coco, convert, sequence
from trainable.data.faults import DataError
from trainable.data.formats.kept_layout import kept_layout
from trainable.data.pairs import read_pairs
from trainable.data.source import read_source

ANNOTATIONS = [
    {"image_id": 1, "category_id": 9, "bbox": list(WAS)},
    {"image_id": 0, "category_id": 9, "bbox": list(IS)},
    {"image_id": 2, "category_id": 7, "bbox": list(IS)},
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def labels(yards, tmp_path):
    return coco(tmp_path, ANNOTATIONS)


def test_they_are_the_data_set_that_convert_writes(labels, tmp_path):
    assert convert(labels, tmp_path / "out").exit_code == 0
    pairs, by_hand = read_source(labels), read_pairs(tmp_path / "out")
    assert pairs.fingerprint == by_hand.fingerprint and pairs.names == by_hand.names
    assert pairs.location == str(labels), "messages name what the user gave"


def test_tracks_and_boxes_of_a_folder_are_read_too_and_our_own_layout_is_left_alone(tmp_path, paint, pair_data):
    tracks = {"1": lambda frame: 2 * frame}
    folder = sequence(tmp_path / "X", paint, 40, tracks)
    assert len(read_source(folder).train) > 1
    own = pair_data.train[0].before.parents[1]
    (tmp_path / "own").symlink_to(own)
    assert read_source(tmp_path / "own").fingerprint == pair_data.fingerprint


def test_it_is_written_once_and_anew_where_labels_or_images_have_changed(labels, yards):
    first = kept_layout(labels)
    (first / "mark").touch()
    assert kept_layout(labels) == first and (first / "mark").exists()
    labels.write_text(labels.read_text().replace("40", "41"))
    second = kept_layout(labels)
    image = yards / "yard_0_after.png"
    os.utime(image, ns=(1, 1))
    assert len({first, second, kept_layout(labels)}) == 3


def test_what_is_wrong_is_named_in_the_users_own_file_and_nothing_is_kept(labels, tmp_path):
    found = json.loads(labels.read_text())
    found["annotations"][0]["bbox"] = [1, 2, "x", 4]
    found["annotations"][1]["category_id"] = 99
    labels.write_text(json.dumps(found))
    with pytest.raises(DataError) as caught:
        read_source(labels)
    assert {fault.file for fault in caught.value.faults} == {str(labels)} and len(caught.value.faults) == 2
    assert not (tmp_path / "cache" / "moved-object-search" / "converted").exists()


def test_where_nothing_can_be_kept_the_way_by_hand_is_told(labels, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be converted.*convert\.py"):
        read_source(labels)


def test_for_other_machines_it_is_written_where_they_see_it(labels, tmp_path):
    shared = tmp_path / "shared"
    pairs = read_source(labels, shared=shared)
    assert pairs.fingerprint == read_source(labels).fingerprint
    assert all(shared in pair.before.parents for pair in (*pairs.train, *pairs.val))
