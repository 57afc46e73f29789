"""What a model will not see, or a search not measure, is said with counts and names; what is in order is not."""

import numpy as np
import pytest
from PIL import Image

from trainable.data.faults import DataError
from trainable.data.model_input import ModelInput, SizeRule
from trainable.data.pairs import read_pairs

MODEL = ModelInput(SizeRule.of({"size": {"shortest_edge": 96, "longest_edge": 128}}), queries=3)
BOX = "0 0.5 0.5 0.25 0.25\n"
TRAIN, VAL = ("t0", "t1", "t2"), ("v0", "v1")


class Pairs:
    """A data set of five sound pairs, 64x48, each of which a test may spoil."""

    def __init__(self, folder):
        self.folder = folder
        self.random = np.random.default_rng(0)
        for side in ("before", "after", "labels"):
            (folder / side).mkdir()
        (folder / "train.txt").write_text("\n".join(TRAIN))
        (folder / "val.txt").write_text("\n".join(VAL))
        (folder / "classes.txt").write_text("person")
        for id_ in (*TRAIN, *VAL):
            self.write(id_)

    def write(self, id_, size=(64, 48), labels=BOX, box_gain=100, noise=8, scale=1, suffix=".png"):
        """Noise on both sides; a square of 1/4 of the image in its middle has moved."""
        width, height = size
        before, after = self.random.integers(60, 60 + noise, (2, height, width, 3))
        middle = slice(3 * height // 8, 5 * height // 8), slice(3 * width // 8, 5 * width // 8)
        after[middle] += box_gain
        for side, pixels in (("before", before), ("after", after)):
            self.image(side, id_, pixels * scale, suffix)
        (self.folder / "labels" / f"{id_}.txt").write_text(labels)

    def image(self, side, id_, pixels, suffix=".png"):
        for old in (self.folder / side).glob(f"{id_}.*"):
            old.unlink()
        Image.fromarray(pixels.astype(np.uint8)).save(self.folder / side / f"{id_}{suffix}")

    def lines(self, model=MODEL, **how):
        return [str(notice) for notice in read_pairs(self.folder, model=model, **how).notices]

    def only_line(self, **how):
        (line,) = self.lines(**how)
        return line


@pytest.fixture
def pairs(tmp_path):
    return Pairs(tmp_path)


def test_sound_pairs_surprise_nobody(pairs):
    assert pairs.lines() == []
    assert pairs.lines(model=None) == []
    pairs.write("t1", labels="", box_gain=0)
    assert pairs.lines() == [], "a pair in which nothing moved has no label"


class TestBlackDifferences:
    def test_before_and_after_that_are_one_image(self, pairs):
        for id_ in ("t1", "v0"):
            after = np.asarray(Image.open(pairs.folder / "after" / f"{id_}.png"))
            pairs.image("before", id_, after)
        line = pairs.only_line()
        assert line.startswith(
            "2 of 5 labelled pairs are (almost) black where before is subtracted from after, at most 16"
        )
        assert "at 128x96: t1, v0; nothing can be learnt from them" in line

    def test_twelve_bits_in_sixteen(self, pairs):
        for side in ("before", "after"):
            for id_ in (*TRAIN, *VAL):
                path = pairs.folder / side / f"{id_}.png"
                grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16
                Image.fromarray(grey).save(path)
        assert pairs.lines()[0].startswith("5 of 5 labelled pairs are (almost) black")

    def test_animations_that_begin_with_a_black_frame(self, pairs):
        for side in ("before", "after"):
            frame = Image.open(pairs.folder / side / "t0.png")
            (pairs.folder / side / "t0.png").unlink()
            black = Image.new("RGB", frame.size)
            black.save(pairs.folder / side / "t0.gif", save_all=True, append_images=[frame])
        dark, blank = pairs.lines()
        assert dark.startswith("1 of 5 labelled pairs are (almost) black") and ": t0; " in dark
        assert blank.startswith("1 of 5 pairs have an image of one colour throughout: t0; ")
        assert "animation begins with a black frame" in blank

    def test_boxes_where_nothing_differs(self, pairs):
        pairs.write("v1", labels=f"{BOX}0 0.1 0.1 0.1 0.1\n0 0.9 0.9 0.1 0.1\n")
        line = pairs.only_line()
        assert line.startswith("2 of 7 boxes lie where before and after (almost) agree, to 16 of 255 at 128x96: v1; ")

    def test_pairs_without_boxes_may_be_black(self, pairs):
        pairs.write("t1", labels="", noise=1, box_gain=0)
        assert not any("labelled pairs" in line for line in pairs.lines())


class TestWhatTheModelCannotTake:
    def test_an_image_too_thin_is_a_fault_that_skip_bad_leaves_out(self, pairs):
        pairs.write("t2", size=(4, 4000))
        with pytest.raises(DataError) as error:
            read_pairs(pairs.folder, model=MODEL)
        (fault,) = error.value.faults
        assert fault.kind == "image too thin for the model" and fault.file.endswith("after/t2.png")
        assert fault.value == "4x4000 pixels become 0x128 at the model's size"
        left = read_pairs(pairs.folder, model=MODEL, skip_bad=True)
        assert [pair.id for pair in left.train] == ["t0", "t1"]
        assert len(left.left_out) == 1

    def test_whoever_knows_no_model_reads_it(self, pairs):
        pairs.write("t2", size=(4, 4000))
        assert len(read_pairs(pairs.folder).train) == 3

    def test_boxes_that_vanish(self, pairs):
        pairs.write("t0", labels=f"{BOX}0 0.5 0.5 0.014 0.2\n0 0.5 0.45 0.2 0.02\n")
        line = pairs.only_line()
        assert line.startswith("2 of 7 boxes are under 2 pixels at 128x96: t0; a model cannot see them")

    def test_a_box_of_two_pixels_as_label_files_round_it_does_not_vanish(self, pairs):
        pairs.write("t0", labels="0 0.5 0.5 0.015625 0.020833\n")
        assert pairs.lines() == []

    def test_images_that_vanish(self, pairs):
        pairs.write("v0", size=(800, 40), labels="", box_gain=0)
        line = pairs.only_line()
        assert line.startswith("1 of 5 pairs are under 8 pixels high or wide at the model's size: v0; ")

    def test_more_boxes_than_queries(self, pairs):
        boxes = [f"0 {x} 0.5 0.125 0.25\n" for x in (0.4375, 0.5, 0.5625)]
        pairs.write("t1", labels="".join(boxes))
        assert pairs.lines() == []
        pairs.write("t1", labels="".join(boxes) + BOX)
        line = pairs.only_line()
        assert line.startswith("1 of 5 pairs have more boxes than the model has queries, 3: t1; ")


class TestSides:
    def test_a_validation_side_without_a_box(self, pairs):
        for id_ in VAL:
            pairs.write(id_, labels="", box_gain=0)
        assert pairs.only_line() == (
            "none of the 2 validation pairs has a box; recall, F1 and mAP cannot be measured, and no score threshold "
            "be recommended"
        )
        assert pairs.lines(one_side=True) == []

    def test_no_box_at_all(self, pairs):
        for id_ in (*TRAIN, *VAL):
            pairs.write(id_, labels="", box_gain=0)
        learnt, measured = pairs.lines()
        assert learnt.startswith("none of the 3 training pairs has a box; ")
        assert measured.startswith("none of the 2 validation pairs has a box; ")
        assert pairs.only_line(one_side=True) == "none of the 5 pairs has a box; nothing can be measured on them"

    def test_classes_of_one_side(self, pairs):
        (pairs.folder / "classes.txt").write_text("person\ncar\nbicycle\ndog\ncat")
        pairs.write("t0", labels=BOX.replace("0", "1", 1))
        pairs.write("v0", labels=BOX.replace("0", "2", 1))
        assert pairs.lines() == [
            "2 of 5 classes have no box at all: dog, cat; what they are is neither learnt nor measured",
            "1 of 5 classes has boxes in training pairs only: car; what they are is learnt, but not measured",
            "1 of 5 classes has boxes in validation pairs only: bicycle; what they are is measured, but never learnt",
        ]


class TestCopies:
    def copy(self, pairs, source, target, swapped=False, suffix=".png"):
        for side, other in (("before", "after"), ("after", "before")):
            image = Image.open(pairs.folder / (other if swapped else side) / f"{source}.png")
            pairs.image(side, target, np.asarray(image), suffix)

    @pytest.mark.parametrize(
        "how", [{}, {"swapped": True}, {"suffix": ".bmp"}, {"swapped": True, "suffix": ".tif"}], ids=str
    )
    def test_a_validation_pair_that_is_a_training_pair(self, pairs, how):
        self.copy(pairs, "t1", "v1", **how)
        line = pairs.only_line()
        assert line.startswith("1 of 2 validation pairs have the images of a training pair: v1 = t1; ")

    def test_still_scenes_without_noise_are_no_copies_of_each_other(self, pairs):
        for id_, shade in (("t0", 20), ("t1", 40), ("v0", 60)):
            pixels = np.full((48, 64, 3), shade)
            pixels[0, 0] = 0
            for side in ("before", "after"):
                pairs.image(side, id_, pixels)
            (pairs.folder / "labels" / f"{id_}.txt").write_text("")
        assert pairs.lines() == []
        self.copy(pairs, "t1", "v0", suffix=".bmp")
        assert pairs.only_line().startswith("1 of 2 validation pairs have the images of a training pair: v0 = t1; ")

    def test_one_training_pair_twice_with_other_labels(self, pairs):
        self.copy(pairs, "t0", "t2", swapped=True)
        assert pairs.lines() == []
        (pairs.folder / "labels" / "t2.txt").write_text("")
        line = pairs.only_line()
        assert line.startswith("1 of 3 training pairs have the images of another one, but other labels: t2 = t0; ")
        (pairs.folder / "labels" / "t0.txt").write_text(f"{BOX}0 0.45 0.5 0.125 0.25\n")
        (pairs.folder / "labels" / "t2.txt").write_text(f"0 0.45 0.5 0.125 0.25\n{BOX}")
        assert pairs.lines() == [], "the order of boxes says nothing"
