import os
import pickle
import shutil
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainable.data.faults import DataError
from trainable.data.model_input import read_model_input
from trainable.data.pairs import read_pairs
from trainable.sample import CHECKPOINT

REAL_PAIRS = Path(__file__).parents[4] / "shared" / "real_pairs"


def faults_of(location, **options):
    with pytest.raises(DataError) as error:
        read_pairs(location, **options)
    return error.value.faults


def kinds(faults):
    return sorted(fault.kind for fault in faults)


def png_header(width, height):
    """A PNG that claims a size and holds no pixels."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT"
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def test_pairs_are_found_by_path_and_stem_whatever_the_suffix(tmp_path, make_pair):
    make_pair("a", suffix=".JPG")
    make_pair("night/cam.2024.01", size=(20, 10), labels="")
    shutil.move(tmp_path / "after" / "a.JPG", tmp_path / "after" / "a.jpeg")
    data = read_pairs(tmp_path)
    pairs = {pair.id: pair for pair in data.train + data.val}
    assert sorted(pairs) == ["a", "night/cam.2024.01"]
    assert pairs["a"].before == tmp_path / "before" / "a.JPG"
    assert pairs["a"].after == tmp_path / "after" / "a.jpeg"
    assert pairs["a"].labels.boxes_cxcywh_normalised == ((0.5, 0.5, 0.2, 0.2),)
    assert pairs["night/cam.2024.01"].size == (20, 10)
    assert pairs["night/cam.2024.01"].labels.class_ids == ()


@pytest.mark.parametrize("name", ["c\x1b[2J", "c\nd", os.fsdecode(b"c\xff")])
def test_a_file_name_that_would_steer_a_terminal_or_is_no_text_is_a_fault(tmp_path, make_pairs, name):
    good = [*"abdefghi", "Screenshot 9.00\u202fAM"]
    make_pairs([*good, name])
    (fault,) = faults_of(tmp_path)
    assert fault.kind == "file name that cannot be shown" and str(fault).isprintable()
    left = read_pairs(tmp_path, skip_bad=True)
    assert sorted(pair.id for pair in left.train + left.val) == sorted(good)


def test_a_link_to_a_folder_of_pairs_is_named_since_nobody_looks_behind_it(tmp_path, make_pairs):
    make_pairs(["a", "b", "night/c"])
    for side in ("before", "after", "labels"):
        (tmp_path / side / "night").rename(tmp_path / f"night_{side}")
        (tmp_path / side / "night").symlink_to(tmp_path / f"night_{side}")
    assert kinds(faults_of(tmp_path)) == ["link to a folder"] * 3
    (tmp_path / "train.txt").write_text("a")
    (tmp_path / "val.txt").write_text("b")
    assert len(read_pairs(tmp_path).train) == 1, "listed ids are looked for, and nothing else"


def test_links_to_files_and_to_the_three_folders_are_followed(tmp_path, make_pairs):
    make_pairs(["a", "b"])
    (tmp_path / "labels").rename(tmp_path / "elsewhere")
    (tmp_path / "labels").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "before" / "a.png").rename(tmp_path / "a.png")
    (tmp_path / "before" / "a.png").symlink_to(tmp_path / "a.png")
    data = read_pairs(tmp_path)
    assert len(data.train + data.val) == 2


def test_hidden_files_and_other_files_are_no_part_of_the_data_set(tmp_path, make_pairs):
    make_pairs(["a", "b"])
    for name in ("before/._a.png", "before/Thumbs.db", "labels/._a.txt", "labels/classes.txt", "after/notes.txt"):
        (tmp_path / name).write_bytes(b"person\n")
    data = read_pairs(tmp_path)
    assert len(data.train + data.val) == 2
    assert data.names == ("person",)


def test_names_come_from_the_highest_class_id_where_nobody_gives_them(tmp_path, make_pair):
    make_pair("a", "2 0.5 0.5 0.1 0.1")
    make_pair("b", "0 0.5 0.5 0.1 0.1")
    assert read_pairs(tmp_path).names == ("0", "1", "2")


def test_size_is_that_of_the_upright_image(tmp_path, make_pairs):
    make_pairs(["a", "b"])
    exif = Image.Exif()
    exif[0x0112] = 6
    for side in ("before", "after"):
        Image.new("RGB", (40, 20)).save(tmp_path / side / "a.png", exif=exif)
    assert {pair.id: pair.size for pair in sum(sides(read_pairs(tmp_path)), ())} == {"a": (20, 40), "b": (16, 12)}


def sides(data):
    return data.train, data.val


LABEL_FAULTS = {
    "too few fields": "0 0.5 0.5 0.1",
    "too many fields": "0 0.5 0.5 0.1 0.1 0.9",
    "not a number": "0 0.5 half 0.1 0.1",
    "NaN or infinity": "0 nan 0.5 0.1 0.1",
    "class id not an integer": "0.5 0.5 0.5 0.1 0.1",
    "class id outside names": "3 0.5 0.5 0.1 0.1",
    "coordinate outside [0, 1]": "0 1.5 0.5 0.1 0.1",
    "zero or negative size": "0 0.5 0.5 -0.1 0.1",
    "box beyond the edge": "0 0.99 0.5 0.1 0.1",
    "repeated line": "1 0.3 0.3 0.1 0.1",
}


@pytest.fixture
def every_fault(tmp_path, make_pair, make_pairs):
    """A data set with one pair for every kind of fault, each named after it, and four good pairs."""
    (tmp_path / "classes.txt").write_text("person\ncar\nbike\n")
    make_pairs(["good 1", "good 2", "good 3", "good 4", "missing before", "missing after", "two images for one id"])
    make_pairs(["unreadable image", "truncated image", "sizes differ", "over the limit", "without label"])
    for kind, line in LABEL_FAULTS.items():
        make_pair(kind, f"1 0.3 0.3 0.1 0.1\n{line}\n")
    make_pair("not UTF-8", b"1 0.3 0.3 0.1 0.1\n\xff\n")
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "missing before.png").unlink()
    (after / "missing after.png").unlink()
    shutil.copy(before / "two images for one id.png", before / "two images for one id.bmp")
    (before / "unreadable image.png").write_bytes(b"no image")
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(after / "truncated image.png")
    content = (after / "truncated image.png").read_bytes()
    (after / "truncated image.png").write_bytes(content[: len(content) // 2])
    Image.new("RGB", (12, 16)).save(after / "sizes differ.png")
    (before / "over the limit.png").write_bytes(png_header(30_000, 20_000))
    (tmp_path / "labels" / "without label.txt").unlink()
    return tmp_path


def test_one_of_every_fault_is_named_with_file_line_and_value_and_good_pairs_are_not(every_fault):
    faults = faults_of(every_fault)
    found = {(fault.kind, Path(fault.file).relative_to(every_fault).as_posix(), fault.line) for fault in faults}
    assert found == {
        *((kind, f"labels/{kind}.txt", 2) for kind in [*LABEL_FAULTS, "not UTF-8"]),
        ("missing before", "labels/missing before.txt", None),
        ("missing after", "labels/missing after.txt", None),
        ("two images for one id", "before/two images for one id.png", None),
        ("unreadable or truncated image", "before/unreadable image.png", None),
        ("unreadable or truncated image", "after/truncated image.png", None),
        ("sizes differ", "after/sizes differ.png", None),
        ("image over the pixel limit", "before/over the limit.png", None),
        ("image without a label file", "before/without label.png", None),
    }
    assert len(faults) == len(found)
    values = {fault.kind: fault.value for fault in faults}
    assert values["sizes differ"] == "16x12 and 12x16"
    assert values["image over the pixel limit"] == "30000x20000 pixels"
    assert values["two images for one id"] == "two images for one id.bmp, two images for one id.png"
    assert values["class id outside names"] == "3"
    assert all(fault.value and fault.advice for fault in faults)


def test_skip_bad_leaves_out_exactly_the_faulty_pairs_and_says_why(every_fault):
    for good in range(5, 30):
        for folder in ("before", "after", "labels"):
            suffix = ".txt" if folder == "labels" else ".png"
            shutil.copy(every_fault / folder / f"good 1{suffix}", every_fault / folder / f"good {good}{suffix}")
    expected = faults_of(every_fault)
    data = read_pairs(every_fault, skip_bad=True)
    assert {pair.id for pair in data.train + data.val} == {f"good {good}" for good in range(1, 30)}
    assert data.left_out == expected


def test_skip_bad_does_not_hide_a_side_that_has_nothing_left(tmp_path, make_pairs):
    make_pairs("abc")
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "val.txt").write_text("c\n")
    (tmp_path / "before" / "c.png").unlink()
    assert kinds(faults_of(tmp_path)) == ["missing before"]
    faults = faults_of(tmp_path, skip_bad=True)
    assert kinds(faults) == ["empty split", "missing before"]
    assert faults[0].file.endswith("val.txt")


def test_a_huge_image_makes_neither_pillow_nor_memory_complain(tmp_path, make_pairs):
    make_pairs("ab")
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in (10_000, 60_000):
            (tmp_path / "after" / "b.png").write_bytes(png_header(size, size))
            assert [fault.value for fault in faults_of(tmp_path)] == [f"{size}x{size} pixels"]
    assert limit == Image.MAX_IMAGE_PIXELS


def test_the_pixel_limit_is_inclusive(tmp_path, make_pairs):
    make_pairs("ab")
    assert read_pairs(tmp_path, pixel_limit=16 * 12)
    assert kinds(faults_of(tmp_path, pixel_limit=16 * 12 - 1)) == ["image over the pixel limit"] * 4


@pytest.mark.parametrize("missing", ["nothing here", "nothing here/data.yaml"])
def test_a_location_that_does_not_exist_is_one_fault(tmp_path, missing):
    assert kinds(faults_of(tmp_path / missing)) == ["no such file or folder"]


def test_no_pairs_at_all_and_one_pair_alone_are_faults(tmp_path, make_pair):
    for folder in ("before", "after", "labels"):
        (tmp_path / folder).mkdir()
    assert kinds(faults_of(tmp_path)) == ["no pairs at all"]
    make_pair("a")
    assert kinds(faults_of(tmp_path)) == ["empty split"]


def test_names_cannot_be_made_up_where_nothing_is_labelled(tmp_path, make_pair):
    make_pair("a", "")
    make_pair("b", "")
    assert kinds(faults_of(tmp_path)) == ["no names"]
    (tmp_path / "classes.txt").write_text("person\n")
    assert read_pairs(tmp_path).names == ("person",)


def test_a_fault_of_the_lists_and_a_fault_of_an_image_are_told_together(tmp_path, make_pairs):
    make_pairs("abc")
    (tmp_path / "train.txt").write_text("a\nb\nnowhere\n")
    (tmp_path / "val.txt").write_text("c\n")
    (tmp_path / "after" / "a.png").unlink()
    assert kinds(faults_of(tmp_path)) == ["id without a label file", "missing after"]


def test_pairs_that_the_users_lists_leave_out_are_not_looked_at(tmp_path, make_pairs):
    make_pairs("abcd")
    (tmp_path / "before" / "d.png").write_bytes(b"broken")
    (tmp_path / "labels" / "c.txt").unlink()
    (tmp_path / "train.txt").write_text("b\n")
    (tmp_path / "val.txt").write_text("a\n")
    data = read_pairs(tmp_path)
    assert [pair.id for pair in data.train + data.val] == ["b", "a"]


def test_a_subset_is_the_first_pairs_of_each_side_and_only_they_are_checked(tmp_path, make_pairs):
    make_pairs(f"{number:02}" for number in range(20))
    whole = read_pairs(tmp_path)
    (tmp_path / "before" / f"{whole.train[-1].id}.png").unlink()
    few = read_pairs(tmp_path, subset=3)
    assert (few.train, few.val) == (whole.train[:3], whole.val[:3])
    with pytest.raises(ValueError, match="at least 1, got 0"):
        read_pairs(tmp_path, subset=0)


def test_group_by_keeps_scenes_whole(tmp_path, make_pairs):
    make_pairs(f"cam{scene}/{number}" for scene in range(4) for number in range(3))
    data = read_pairs(tmp_path, group_by="parent")
    assert {pair.id.split("/")[0] for pair in data.train}.isdisjoint(pair.id.split("/")[0] for pair in data.val)
    assert len(data.train + data.val) == 12


def test_data_yaml_gives_names_and_split(tmp_path, make_pairs):
    make_pairs("abcd")
    (tmp_path / "data.yaml").write_text("names: {0: person}\nval_ratio: 0.5\nseed: 3\n")
    data = read_pairs(tmp_path / "data.yaml")
    assert data.names == ("person",)
    assert (len(data.train), len(data.val)) == (2, 2)


def test_the_fingerprint_moves_with_content_names_and_split_but_not_with_the_place(tmp_path, make_pairs):
    make_pairs("abcdefgh")
    (tmp_path / "classes.txt").write_text("person\n")
    first = read_pairs(tmp_path).fingerprint
    elsewhere = tmp_path.parent / f"{tmp_path.name} elsewhere"
    shutil.copytree(tmp_path, elsewhere)
    prints = {first, read_pairs(elsewhere).fingerprint}
    assert len(prints) == 1
    Image.new("RGB", (16, 12)).save(elsewhere / "before" / "a.png")
    prints.add(read_pairs(elsewhere).fingerprint)
    (elsewhere / "labels" / "b.txt").write_text("")
    prints.add(read_pairs(elsewhere).fingerprint)
    (elsewhere / "classes.txt").write_text("car\n")
    prints.add(read_pairs(elsewhere).fingerprint)
    prints.add(read_pairs(elsewhere, subset=1).fingerprint)
    assert len(prints) == 5


def test_paths_hold_in_another_working_directory_and_process(tmp_path, make_pairs, monkeypatch):
    make_pairs("ab")
    monkeypatch.chdir(tmp_path.parent)
    data = read_pairs(Path(tmp_path.name))
    assert pickle.loads(pickle.dumps(data)) == data
    assert Path(data.location) == tmp_path
    assert all(pair.before.is_absolute() and pair.after.is_absolute() for pair in data.train)


def test_a_thousand_pairs_are_checked_in_five_seconds(tmp_path, make_pair):
    make_pair("0000", size=(160, 120))
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "before" / "0000.png")
    for side, suffix in (("before", ".png"), ("after", ".png"), ("labels", ".txt")):
        content = (tmp_path / side / f"0000{suffix}").read_bytes()
        for number in range(1, 1000):
            (tmp_path / side / f"{number:04}{suffix}").write_bytes(content)
    start = time.process_time()
    data = read_pairs(tmp_path, model=read_model_input(CHECKPOINT))
    assert time.process_time() - start < 5
    assert (len(data.train), len(data.val)) == (800, 200)


def test_data_is_checked_without_importing_torch():
    program = "import sys, trainable.data.pairs; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.skipif(not REAL_PAIRS.is_dir(), reason="the real pairs are not here")
def test_real_footage_has_no_faults():
    data = read_pairs(REAL_PAIRS)
    assert (len(data.train), len(data.val), data.names) == (36, 12, ("person",))
