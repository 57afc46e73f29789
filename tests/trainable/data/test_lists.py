"""The user's own split, written as people and tools write it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainable.data.faults import DataError
from trainable.data.lists import id_of_entry
from trainable.data.pairs import read_pairs

IDS = {"yard_1", "night/yard_1", "cam.2024.01", "a b"}


@pytest.mark.parametrize(
    ("entry", "id_"),
    [
        ("yard_1", "yard_1"),
        ("night/yard_1", "night/yard_1"),
        ("cam.2024.01", "cam.2024.01"),
        ("./images/yard_1.jpg", "yard_1"),
        ("./yard_1", "yard_1"),
        ("yard_1.png", "yard_1"),
        ("/home/me/set/images/night/yard_1.JPG", "night/yard_1"),
        (r"C:\Users\me\set\images\night\yard_1.jpg", "night/yard_1"),
        (r"D:\set\yard_1.jpeg", "yard_1"),
        (r"night\yard_1", "night/yard_1"),
        ("../images/a b.png", "a b"),
        ("labels/night/yard_1.txt", "night/yard_1"),
        ("data/obj/cam.2024.01.jpg", "cam.2024.01"),
        ("images/yard_1.heic", "yard_1"),
        ("images/yard_2.jpg", None),
        ("images/yard_1", None),
        ("images/yard_1.jpg 1,2,3,4,0", None),
        ("cam.2024", None),
        ("../../etc/passwd", None),
    ],
)
def test_an_entry_means_the_id_that_its_path_ends_in(entry, id_):
    assert id_of_entry(entry, IDS) == id_


@given(st.text(min_size=1), st.sets(st.text(min_size=1)))
def test_whatever_an_entry_is_it_means_an_id_that_there_is_or_none(entry, ids):
    assert id_of_entry(entry, ids) in {None, *ids}
    assert id_of_entry(entry, {*ids, entry}) == entry


def sides(location):
    data = read_pairs(location)
    return [pair.id for pair in data.train], [pair.id for pair in data.val]


def kinds(location):
    with pytest.raises(DataError) as error:
        read_pairs(location)
    return [(fault.kind, fault.value) for fault in error.value.faults]


@pytest.fixture
def folder(tmp_path, make_pairs):
    make_pairs(["train/a", "train/b", "val/a"])
    return tmp_path


@pytest.mark.parametrize("start", ["/home/me/set/images/", "C:\\set\\images\\", "./images/", "images/", ""])
def test_lists_of_image_paths_split_a_folder(folder, start):
    ends = ["train/a.jpg", "train/b.jpg"]
    lines = [start + (end.replace("/", "\\") if "\\" in start else end) for end in ends]
    (folder / "train.txt").write_text("\r\n".join(lines))
    (folder / "val.txt").write_text(f"{start}val/a.jpg\n")
    assert sides(folder) == (["train/a", "train/b"], ["val/a"])


@pytest.mark.parametrize("place", ["before/{}", "after/{}/", "labels/{}", "./before/{}", "images/{}", "before\\\\{}"])
def test_a_data_yaml_of_folders_splits_by_what_lies_in_them(folder, place):
    for side in ("train", "val"):
        (folder / "labels" / side / "classes.txt").write_text("person\n")
    text = f'train: "{place.format("train")}"\nval: "{place.format("val")}"\nnc: 1\nnames: [person]\n'
    (folder / "data.yaml").write_text(text)
    assert sides(folder / "data.yaml") == (["train/a", "train/b"], ["val/a"])


def test_folders_of_images_beside_the_pairs_split_them_too(tmp_path, make_pairs):
    make_pairs("abc")
    for side, names in (("train", "ab"), ("valid", "c")):
        for kind, suffix in (("images", "jpg"), ("labels", "txt")):
            (tmp_path / side / kind).mkdir(parents=True)
            for name in names:
                (tmp_path / side / kind / f"{name}.{suffix}").touch()
    (tmp_path / "data.yaml").write_text("train: train\nval: valid/images\n")
    assert sides(tmp_path / "data.yaml") == (["a", "b"], ["c"])


def test_absolute_paths_within_the_data_folder_are_read(folder):
    (folder / "train.txt").write_text("images/train/a.jpg\n")
    (folder / "data.yaml").write_text(f"train: {folder / 'train.txt'}\nval: {folder / 'before' / 'val'}\n")
    assert sides(folder / "data.yaml") == (["train/a"], ["val/a"])


def test_names_may_be_a_file_and_nc_alone_numbers_them(folder):
    (folder / "data.yaml").write_text("names: obj.names\nnc: 2\n")
    (folder / "obj.names").write_text("person\ncar\n")
    assert read_pairs(folder / "data.yaml").names == ("person", "car")
    (folder / "data.yaml").write_text("nc: 2\n")
    assert read_pairs(folder / "data.yaml").names == ("0", "1")


def test_what_cannot_be_plain_is_refused_with_what_to_write(folder):
    yaml = folder / "data.yaml"
    for text, kind in (
        ("train: ../train/images\nval: [val/a]", ("path outside the data folder", "train: '../train/images'")),
        ("train: C:\\set\\images\nval: [val/a]", ("path outside the data folder", r"train: 'C:\\set\\images'")),
        ("train: images/nowhere\nval: [val/a]", ("missing list", "")),
        ("names: nowhere.names", ("missing list", "")),
        ("path: C:\\set", ("missing folder", r"path: 'C:\\set'")),
        ("path: ../datasets/coco8", ("missing folder", "path: '../datasets/coco8'")),
    ):
        yaml.write_text(text)
        assert kinds(yaml) == [kind]
    with pytest.raises(DataError, match="leave it out if they lie beside the file"):
        read_pairs(yaml)
    yaml.write_text("train: images/nowhere\nval: [val/a]")
    with pytest.raises(DataError, match="train is its ids, a file that lists them, or a folder of their images"):
        read_pairs(yaml)


def test_an_image_on_both_sides_is_told_with_how_it_is_written(folder, make_pair):
    make_pair("c")
    (folder / "train.txt").write_text("images/train/a.jpg\nimages/train/b.jpg\n")
    (folder / "val.txt").write_text("val/a\nc\n./images/train/a.jpg\nC:\\set\\val\\a.png\n")
    assert kinds(folder) == [
        ("id in both train and val", "train/a, as ./images/train/a.jpg"),
        ("repeated id", "val/a, as C:\\set\\val\\a.png"),
    ]


@pytest.mark.parametrize("other", ["valid.txt", "Val.txt", "VAL.TXT"])
def test_a_list_of_another_name_is_told_where_its_partner_is_missing(folder, other):
    (folder / "train.txt").write_text("train/a\n")
    (folder / other).write_text("val/a\n")
    with pytest.raises(DataError, match=f"missing list; train.txt and val.txt go together: rename {other}"):
        read_pairs(folder)


def test_folders_of_another_case_are_told(folder):
    (folder / "before").rename(folder / "Before")
    assert kinds(folder) == [("missing folder", "there is Before")]
    (folder / "Before").rename(folder / "images")
    assert kinds(folder) == [("missing folder", "there are after, images, labels")]
    (folder / "before").symlink_to("/nowhere")
    assert kinds(folder) == [("folder is a link to nowhere", "-> /nowhere")]
    assert kinds(folder.with_name(folder.name.upper())) == [("no such file or folder", f"there is {folder.name}")]


def test_a_list_that_is_no_text_file_is_told_by_its_cause(folder):
    (folder / "train.txt").mkdir()
    (folder / "val.txt").symlink_to("/nowhere.txt")
    assert kinds(folder) == [("list is a folder", "train.txt"), ("list is a link to nowhere", "-> /nowhere.txt")]
    (folder / "train.txt").rmdir()
    (folder / "train.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n")
    assert ("list is a Git LFS pointer", "") in kinds(folder)
