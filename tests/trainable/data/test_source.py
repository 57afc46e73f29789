"""A data set in a bucket is read as the same one in a folder is."""

import dataclasses
import shutil
import uuid
from pathlib import Path

import pytest

from tests.s3 import FORBIDDEN
from trainable.data.faults import DataError
from trainable.data.pairs import read_pairs
from trainable.data.source import on_this_machine, read_source
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote, StorageError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def pushed(s3):
    """Copies a folder into the bucket; gives the URI of it, or of something in it."""

    def push(folder, name=""):
        remote = Remote(s3.uri(f"bucket/{uuid.uuid4().hex}/my pairs"))
        Mirror(remote, folder).push(folder)
        return remote.at(name).uri if name else remote.uri

    return push


def without_place(pairs):
    """All that does not depend on where a data set lies."""
    sides = [
        [dataclasses.replace(pair, before=Path(), after=Path()) for pair in side] for side in (pairs.train, pairs.val)
    ]
    return pairs.names, pairs.fingerprint, sides


def test_it_is_the_data_set_of_the_folder(pushed, data_folder, pair_data):
    uri = pushed(data_folder)
    pairs = read_source(uri)
    assert without_place(pairs) == without_place(pair_data)
    assert pairs.location.startswith("s3://bucket/") and pairs.location.endswith("/my pairs")
    assert all(path.is_file() for pair in pairs.train for path in (pair.before, pair.after))


def test_a_folder_is_read_as_it_was(data_folder, pair_data):
    assert read_source(data_folder) == read_source(str(data_folder)) == pair_data


def test_a_slash_at_the_end_and_a_key_in_the_uri_make_no_other_copy(pushed, data_folder):
    address, mark, query = pushed(data_folder).partition("?")
    once = read_source(f"{address}{mark}{query}")
    again = read_source(f"{address.replace('s3://', 's3://key:secret@')}/{mark}{query}")
    assert again.train == once.train and "secret" not in again.location


def test_scenes_stay_on_one_side(pushed, make_pairs, tmp_path):
    make_pairs(f"{scene}/{number}" for scene in ("yard", "park", "shelf") for number in range(3))
    uri = pushed(tmp_path)
    asked = {"group_by": "parent", "subset": 3}
    assert without_place(read_source(uri, **asked)) == without_place(read_pairs(tmp_path, **asked))


def test_a_data_yaml_and_what_it_names_are_pulled(pushed, make_pairs, tmp_path):
    make_pairs(["a", "b", "c"])
    folder = tmp_path / "set"
    for name in ("before", "after", "labels"):
        shutil.move(tmp_path / name, folder / "in" / f"the {name}")
    (folder / "in" / "mine.txt").write_text("a\nb")
    (folder / "in" / "other.txt").write_text("not asked for")
    lines = ["path: ./in/", *(f"{name}: the {name}/" for name in ("before", "after", "labels"))]
    (folder / "data.yaml").write_text("\n".join([*lines, "names: [cat]", "train: mine.txt", "val: [c]"]))
    pairs = read_source(pushed(folder, "data.yaml"))
    assert without_place(pairs) == without_place(read_pairs(folder / "data.yaml"))
    assert pairs.location.endswith("/my pairs/data.yaml")
    assert "in/other.txt" not in {file.path for file in pairs.snapshot.files}


@pytest.mark.parametrize("path", ["/etc", "../elsewhere", "~", "a/../../b"])
def test_a_data_yaml_reads_nothing_of_this_machine(pushed, tmp_path, path):
    (tmp_path / "data.yaml").write_text(f"path: {path!r}")
    with pytest.raises(StorageError, match=r"my pairs/data.yaml: path must lie below the file's own folder, got '"):
        read_source(pushed(tmp_path, "data.yaml"))


@pytest.mark.parametrize("content", ["path: [", "a text", "path: 3", "before: ../../before", ""])
def test_a_faulty_data_yaml_is_named_by_its_uri(pushed, make_pairs, tmp_path, content):
    make_pairs(["a", "b"])
    (tmp_path / "data.yaml").write_text(content)
    uri = pushed(tmp_path, "data.yaml")
    with pytest.raises(DataError) as raised:
        read_source(uri)
    assert {fault.file for fault in raised.value.faults} == {str(Remote(uri))}


def test_faults_name_the_object_and_so_do_pairs_that_are_left_out(pushed, make_pairs, tmp_path):
    make_pairs(f"p{number}" for number in range(12))
    (tmp_path / "labels" / "p3.txt").write_text("0 2 0.5 0.1 0.1")
    uri = pushed(tmp_path)
    with pytest.raises(DataError, match=r"s3://bucket/.*/my pairs/labels/p3.txt:1: ") as raised:
        read_source(uri)
    left_out = read_source(uri, skip_bad=True).left_out
    assert left_out == raised.value.faults


def test_a_folder_without_a_part_is_told_by_its_uri(pushed, make_pairs, tmp_path):
    make_pairs(["a", "b"])
    shutil.rmtree(tmp_path / "after")
    with pytest.raises(DataError, match=r"s3://bucket/.*/my pairs/after: missing folder"):
        read_source(pushed(tmp_path))


@pytest.mark.parametrize("name", ["nothing", "nothing/data.yaml", "before/t0.png"])
def test_what_is_not_there_is_an_error_that_names_the_uri(pushed, data_folder, name):
    with pytest.raises(StorageError, match=rf"s3://bucket/.*/my pairs/{name}: (no data set|there is no such file)"):
        read_source(pushed(data_folder, name))


def test_a_wrong_bucket_and_refused_credentials_are_errors_at_once_that_name_the_uri(s3):
    with pytest.raises(StorageError, match=r"s3://nowhere/pairs: .*"):
        read_source(s3.uri("nowhere/pairs"))
    s3.failure = FORBIDDEN
    with pytest.raises(StorageError, match=r"s3://bucket/pairs: cannot be used: .*"):
        read_source(s3.uri("bucket/pairs"))


def test_another_machine_has_paths_of_its_own(pushed, data_folder, pair_data, tmp_path, monkeypatch):
    pairs = read_source(pushed(data_folder))
    assert on_this_machine(pairs) is pairs
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other home"))
    there = on_this_machine(pairs)
    assert without_place(there) == without_place(pair_data)
    for pair, original in zip((*there.train, *there.val), (*pair_data.train, *pair_data.val), strict=True):
        assert pair.before.is_relative_to(tmp_path / "other home")
        assert pair.before.read_bytes() == original.before.read_bytes()
        assert pair.after.read_bytes() == original.after.read_bytes()


def test_a_local_data_set_is_the_same_on_every_machine(pair_data):
    assert on_this_machine(pair_data) is pair_data


def test_a_data_yaml_as_yolos_tools_write_it_is_read_from_a_bucket_too(pushed, make_pairs, tmp_path):
    make_pairs(["train/a", "train/b", "val/c"])
    (tmp_path / "obj.names").write_text("person\n")
    (tmp_path / "data.yaml").write_text('train: images/train\nval: "before\\\\val"\nnames: obj.names\nnc: 1\n')
    pairs = read_source(pushed(tmp_path, "data.yaml"))
    assert without_place(pairs) == without_place(read_pairs(tmp_path / "data.yaml"))
    assert (pairs.names, [pair.id for pair in pairs.val]) == (("person",), ["val/c"])
