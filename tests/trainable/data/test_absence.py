"""What is there but does not count is told as that, and what to do follows the cause."""

import os
import shutil
import unicodedata
from pathlib import Path

import pytest

from trainable.data.absence import cause_at
from trainable.data.faults import DataError
from trainable.data.pairs import read_pairs

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
CAFE = {form: unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")}


@pytest.fixture
def pairs(tmp_path, make_pairs):
    """A data folder with the pairs a, b and c."""
    make_pairs("abc")
    return tmp_path


def faults_of(location):
    with pytest.raises(DataError) as error:
        read_pairs(location)
    return error.value.faults


def copy(folder, to):
    """Where everybody may look."""
    shutil.copytree(folder, to)
    to.chmod(0o755)


def the_fault(location):
    (fault,) = faults_of(location)
    return fault


@pytest.mark.parametrize(("name", "suffix"), [("a.heic", ".heic"), ("a.JFIF", ".JFIF"), ("a.CR2", ".CR2")])
def test_an_image_of_a_suffix_that_is_not_read_is_no_missing_image(pairs, name, suffix):
    (pairs / "after" / "a.png").rename(pairs / "after" / name)
    fault = the_fault(pairs)
    assert fault.kind == "after image has a suffix that is not read"
    assert (fault.file, fault.value) == (str(pairs / "labels" / "a.txt"), f"after/{name}")
    assert fault.advice.startswith("save it with one of the suffixes .bmp,")


def test_an_image_without_suffix_is_named(pairs):
    (pairs / "before" / "a.png").rename(pairs / "before" / "a")
    assert the_fault(pairs).kind == "before image has no suffix"


def test_a_suffix_in_capitals_counts(pairs):
    (pairs / "before" / "a.png").rename(pairs / "before" / "a.PNG")
    assert len(read_pairs(pairs).train) == 2


def test_names_of_another_case_are_told_on_both_sides(pairs):
    (pairs / "before" / "a.png").rename(pairs / "before" / "A.png")
    found = {(fault.kind, fault.value) for fault in faults_of(pairs)}
    assert found == {
        ("before image is named in another case", "before/A.png"),
        ("label file is named in another case", "labels/a.txt"),
    }


def test_names_that_look_alike_are_told_with_their_unicode_forms(pairs, make_pair):
    make_pair(CAFE["NFD"])
    (pairs / "labels" / f"{CAFE['NFD']}.txt").rename(pairs / "labels" / f"{CAFE['NFC']}.txt")
    faults = {fault.kind: fault for fault in faults_of(pairs)}
    assert sorted(faults) == [
        "after image is named in another Unicode form",
        "before image is named in another Unicode form",
        "label file is named in another Unicode form",
    ]
    before = faults["before image is named in another Unicode form"]
    assert before.value == f"before/{CAFE['NFD']}.png in NFD, {CAFE['NFC']} in NFC"
    assert "convmv" in before.advice


def test_a_link_to_nowhere_is_told_with_where_it_leads(pairs):
    (pairs / "before" / "a.png").unlink()
    (pairs / "before" / "a.png").symlink_to("/nowhere/a.png")
    fault = the_fault(pairs)
    assert (fault.kind, fault.value) == ("before image is a link to nowhere", "before/a.png -> /nowhere/a.png")
    assert "mounted" in fault.advice


def test_a_link_to_itself_is_told(pairs):
    (pairs / "labels" / "a.txt").unlink()
    (pairs / "labels" / "a.txt").symlink_to("a.txt")
    fault = the_fault(pairs)
    assert (fault.kind, fault.value) == ("label file is a link to itself", "labels/a.txt -> a.txt")


def test_a_folder_in_the_place_of_a_file_is_told(pairs):
    (pairs / "labels" / "a.txt").unlink()
    (pairs / "labels" / "a.txt").mkdir()
    assert the_fault(pairs).kind == "label file is a folder"


@pytest.mark.parametrize(
    ("place", "kind"), [("before/a.png", "image is a Git LFS pointer"), ("labels/a.txt", "label file is a Git LFS poi")]
)
def test_a_git_lfs_pointer_is_told_once_with_how_to_fetch_the_file(pairs, place, kind):
    (pairs / place).write_bytes(LFS_POINTER)
    fault = the_fault(pairs)
    assert fault.kind.startswith(kind) and fault.file == str(pairs / place) and "git lfs pull" in fault.advice


def test_an_empty_image_was_cut_off(pairs):
    (pairs / "after" / "b.png").write_bytes(b"")
    assert the_fault(pairs).kind == "image is an empty file"


@pytest.mark.parametrize("suffix", [".xml", ".json"])
def test_labels_of_another_format_are_no_missing_labels(pairs, suffix):
    (pairs / "labels" / "a.txt").rename(pairs / "labels" / f"a{suffix}")
    fault = the_fault(pairs)
    assert (fault.kind, fault.value) == ("label file has a suffix that is not read", f"labels/a{suffix}")
    assert "YOLO" in fault.advice


def test_a_label_file_that_keeps_the_suffix_of_its_image_is_told(pairs):
    (pairs / "labels" / "a.txt").rename(pairs / "labels" / "a.png.txt")
    assert {fault.kind for fault in faults_of(pairs)} == {
        f"{what} has the image's suffix and another one" for what in ("before image", "after image", "label file")
    }


def test_a_file_in_another_folder_is_told_where_no_other_pair_has_it(pairs, make_pair):
    make_pair("night/d")
    (pairs / "after" / "night" / "d.png").rename(pairs / "after" / "d.png")
    found = {(fault.kind, fault.value) for fault in faults_of(pairs)}
    assert ("after image lies in another folder", "after/d.png") in found
    make_pair("night/d")
    (pairs / "after" / "d.png").unlink()
    (pairs / "after" / "a.png").unlink()
    make_pair("night/a")
    assert the_fault(pairs).kind == "missing after", "night/a is another pair"


def test_what_a_list_names_is_told_the_same_way(pairs):
    (pairs / "labels" / "b.txt").rename(pairs / "labels" / "B.txt")
    (pairs / "train.txt").write_text("a\nimages/b.png\nnowhere\n")
    (pairs / "val.txt").write_text("c\n")
    found = [(fault.kind, fault.line, fault.value) for fault in faults_of(pairs)]
    assert found == [
        ("label file is named in another case", 2, "images/b.png: labels/B.txt"),
        ("id without a label file", 3, "nowhere"),
    ]


def test_what_is_behind_a_link_to_a_folder_is_told_for_listed_ids(pairs):
    (pairs / "elsewhere").mkdir()
    shutil.move(pairs / "labels" / "a.txt", pairs / "elsewhere" / "a.txt")
    (pairs / "labels" / "night").symlink_to(pairs / "elsewhere")
    (pairs / "train.txt").write_text("night/a\n")
    (pairs / "val.txt").write_text("c\n")
    faults = [fault for fault in faults_of(pairs) if fault.kind != "empty split"]
    assert [fault.kind for fault in faults] == ["label file may lie behind a link to a folder, which is not followed"]


@pytest.mark.parametrize("place", ["before/night", "labels"])
def test_a_folder_that_may_not_be_read_is_told(pairs, make_pair, open_folder, as_ordinary_user, place):
    make_pair("night/d")
    copy(pairs, open_folder / "data")
    (open_folder / "data" / place).chmod(0)
    with as_ordinary_user():
        faults = faults_of(open_folder / "data")
    closed = open_folder / "data" / place
    (of_folder,) = [fault for fault in faults if fault.kind == "folder that cannot be read"]
    assert (of_folder.file, of_folder.value) == (str(closed), "Permission denied")
    assert f"chmod -R u+rX {closed}" in of_folder.advice
    others = [fault.kind for fault in faults if fault is not of_folder]
    assert others == (["before image may lie in a folder that cannot be read"] if place == "before/night" else [])


def test_a_folder_whose_names_alone_may_be_read_is_told(pairs, make_pair, open_folder, as_ordinary_user):
    make_pair("night/d")
    copy(pairs, open_folder / "data")
    (open_folder / "data" / "before" / "night").chmod(0o444)
    with as_ordinary_user():
        fault = the_fault(open_folder / "data")
    assert (fault.kind, fault.value) == ("before image may not be read", "before/night/d.png Permission denied")


@pytest.mark.parametrize("place", ["before/a.png", "labels/a.txt"])
def test_a_file_that_may_not_be_read_is_not_said_to_be_broken(pairs, open_folder, as_ordinary_user, place):
    copy(pairs, open_folder / "data")
    (open_folder / "data" / place).chmod(0)
    with as_ordinary_user():
        fault = the_fault(open_folder / "data")
    assert fault.kind in ("image may not be read", "label file may not be read")
    assert fault.file == str(open_folder / "data" / place) and "chmod" in fault.advice


@pytest.mark.parametrize("name", ["classes.txt", "Classes.txt"])
def test_a_classes_txt_in_every_folder_of_labels_is_no_label_file(pairs, make_pair, name):
    make_pair("night/d")
    for place in ("labels", "labels/night"):
        (pairs / place / name).write_text("person\ncar\n")
    assert len(read_pairs(pairs).train + read_pairs(pairs).val) == 4


def test_a_pair_may_be_called_classes_below_the_top(pairs, make_pair):
    make_pair("night/classes")
    data = read_pairs(pairs)
    assert "night/classes" in {pair.id for pair in data.train + data.val}


def test_a_file_of_something_is_not_explained_away(tmp_path):
    (tmp_path / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    assert cause_at(tmp_path / "a.txt") is None
    os.mkfifo(tmp_path / "pipe")
    assert cause_at(tmp_path / "pipe").kind == "is no regular file"
    assert cause_at(Path("a\0b")).kind == "has a name that no file can have"
