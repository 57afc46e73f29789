"""What a user may take to be used, and is not, is told with counts and names."""

from pathlib import Path

import pytest

from trainable.data.faults import DataError
from trainable.data.files import PairFiles
from trainable.data.layout import read_layout
from trainable.data.left_alone import left_alone
from trainable.data.pairs import read_pairs


@pytest.fixture
def folder(tmp_path, make_pairs):
    make_pairs(["a", "b", "c", "night/d"])
    return tmp_path


def told(location):
    layout = read_layout(location)
    return left_alone(layout, PairFiles.found(layout))


def notices(location):
    """What is told, with the names of files without their folders, and the advice."""
    return [(notice.found, [Path(name).name for name in notice.names], notice.advice) for notice in told(location)]


def the_notice(location):
    (notice,) = notices(location)
    return notice


def test_a_plain_folder_and_all_that_is_used_are_not_told(folder):
    assert notices(folder) == []
    (folder / "classes.txt").write_text("person\ncar\n")
    (folder / "train.txt").write_text("a\nb\nc\n")
    (folder / "val.txt").write_text("night/d\n")
    (folder / "README.txt").write_text("mine")
    (folder / "pairs.csv").write_text("before,after\n")
    (folder / ".hidden.yaml").write_text("")
    assert notices(folder) == []
    (folder / "data.yaml").write_text("names: classes.txt\ntrain: train.txt\nval: val.txt\n")
    assert notices(folder / "data.yaml") == []


def test_a_data_yaml_inside_the_folder_is_told_with_how_to_use_it(folder):
    (folder / "data.yaml").write_text("names: [person]")
    found, names, advice = the_notice(folder)
    assert (found, names) == ("1 YAML file(s) of the folder are not read", ["data.yaml"])
    assert f"--data {folder / 'data.yaml'}" in advice
    assert notices(folder / "data.yaml") == []


@pytest.mark.parametrize("name", ["obj.names", "Classes.txt", "names.txt", "labels/obj.names", "labels/Classes.txt"])
def test_names_in_a_file_that_is_not_read_are_told(folder, name):
    (folder / name).write_text("person\n")
    found, names, advice = the_notice(folder)
    assert (found, names) == ("1 file(s) look like class names and are not read", [Path(name).name])
    assert advice == "the classes are called by their numbers; call it classes.txt"


def test_a_data_yaml_without_names_does_not_take_those_of_classes_txt(folder):
    (folder / "classes.txt").write_text("person\n")
    for text in ("seed: 1", "nc: 1"):
        (folder / "data.yaml").write_text(text)
        assert the_notice(folder / "data.yaml")[2].endswith("write names: into data.yaml")


def test_names_files_that_disagree_are_told_and_those_that_agree_are_not(folder):
    (folder / "classes.txt").write_text("person\ncar\n")
    (folder / "labels" / "classes.txt").write_text("person\ncar\nbike\n")
    (folder / "labels" / "night" / "classes.txt").write_text("person\n")
    assert notices(folder) == [], "LabelImg's lists grow"
    (folder / "labels" / "night" / "classes.txt").write_text("car\nperson\n")
    (folder / "obj.names").write_text("Person\n")
    found, names, advice = the_notice(folder)
    assert (found, names) == ("2 file(s) name the classes otherwise than classes.txt", ["obj.names", "classes.txt"])
    assert advice == "class ids mean the names there, person, car; correct or delete the others"


def test_names_that_labelimg_leaves_in_every_folder_are_used_where_they_agree(folder):
    (folder / "labels" / "night" / "classes.txt").write_text("person\n")
    assert (read_pairs(folder).names, notices(folder)) == (("person",), [])
    (folder / "labels" / "day").mkdir()
    (folder / "labels" / "day" / "classes.txt").write_text("car\n")
    assert read_pairs(folder).names == ("0",)
    assert the_notice(folder)[:2] == ("2 file(s) look like class names and are not read", ["classes.txt"] * 2)


@pytest.mark.parametrize("name", ["valid.txt", "Train.txt", "test.txt", "train_list.txt"])
def test_lists_that_are_not_read_are_told(folder, name):
    (folder / name).write_text("a\n")
    found, names, advice = the_notice(folder)
    assert (found, names) == ("1 list(s) of the folder are not read", [name])
    assert advice == "the split is drawn at random; call them train.txt and val.txt to use them"


def test_lists_beside_a_data_yaml_that_names_none_are_told(folder):
    for side in ("train", "val"):
        (folder / f"{side}.txt").write_text("a\n")
    (folder / "data.yaml").write_text("names: [person]")
    assert the_notice(folder / "data.yaml")[2].endswith("write train: and val: into data.yaml to use them")


def test_pairs_in_no_list_are_counted_and_named(folder):
    (folder / "train.txt").write_text("a\n")
    (folder / "val.txt").write_text("images/b.jpg\n")
    (notice,) = told(folder)
    assert notice in read_pairs(folder).notices
    assert (notice.found, notice.names) == ("2 of 4 labelled pairs are in neither list", ("c", "night/d"))


def test_keys_of_other_tools_are_told(folder):
    (folder / "data.yaml").write_text("names: [person]\ntest: images/test\nroboflow: {version: 3}\n")
    found, names, advice = the_notice(folder / "data.yaml")
    assert (found, names) == ("2 key(s) of data.yaml are not used", ["test", "roboflow"])
    assert "--test" in advice


def test_images_that_are_not_read_and_have_no_label_file_are_told(folder):
    for side in ("before", "after"):
        (folder / side / "night" / "e.HEIC").write_bytes(b"...")
        (folder / side / "Thumbs.db").write_bytes(b"...")
    found, names, _ = the_notice(folder)
    assert found == "2 image(s) have a suffix that is not read, and no label file"
    assert names == ["e.HEIC", "e.HEIC"]


def test_a_data_set_without_label_files_is_told_what_is_there(folder):
    for path in list((folder / "labels").rglob("*.txt")):
        path.rename(path.with_suffix(".xml"))
    with pytest.raises(DataError, match=r"no pairs at all \(met: no \.txt file, but 4 \.xml\); .*as YOLO text"):
        read_pairs(folder)
