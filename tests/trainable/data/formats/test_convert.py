"""`convert.py` as a user runs it: what it writes is read as a data set, and what is wrong is named all at once."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from tests.moved_camera import write_pairs
from tests.trainable.data.formats.conftest import HEIGHT, WIDTH
from trainable.data.annotations import read_labels
from trainable.data.convert import app
from trainable.data.difference import open_image
from trainable.data.pairs import read_pairs
from trainable.data.registration import registration

WAS, IS = (4, 6, 10, 8), (40, 20, 10, 8)


def convert(*words: Any) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def converted(out: Path, *words: Any) -> Path:
    result = convert(words[0], out, *words[1:])
    assert result.exit_code == 0, result.output
    assert f"{out}: " in result.output and f"--data {out}" in result.output.replace("'", "")
    return out


Boxes = dict[str, list[tuple[str, tuple[int, ...]]]]


def boxes_of(out: Path) -> Boxes:
    """The boxes of each pair in whole pixels, left, top, width and height, with their names."""
    names, found = (out / "classes.txt").read_text().splitlines(), {}
    for file in sorted((out / "labels").rglob("*.txt")):
        id_ = file.relative_to(out / "labels").with_suffix("").as_posix()
        before, after = (Image.open(out / side / f"{id_}.png") for side in ("before", "after"))
        assert before.size == after.size
        labels, faults = read_labels(file, len(names))
        assert not faults
        scale = [*after.size, *after.size]
        boxes = [np.multiply(box, scale) for box in labels.boxes_cxcywh_normalised]
        edges = [tuple(map(round, (cx - w / 2, cy - h / 2, w, h))) for cx, cy, w, h in boxes]
        found[id_] = sorted(zip([names[class_id] for class_id in labels.class_ids], edges, strict=True))
    return found


def refused(result: Result, *said: str) -> str:
    assert result.exit_code == 2, result.output
    for text in said:
        assert text in result.stderr
    return result.stderr


def coco(folder: Path, annotations: list[dict[str, Any]], **changed: Any) -> Path:
    names = sorted(path.name for path in (folder / "images").iterdir())
    images = [{"id": index, "file_name": name, "width": WIDTH, "height": HEIGHT} for index, name in enumerate(names)]
    categories = [{"id": 7, "name": "person"}, {"id": 9, "name": "car"}]
    file = folder / "instances_train.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories} | changed))
    return file


class TestCoco:
    """Images are numbered in the order of their names: 0 is yard_0_after, 1 yard_0_before, and so on."""

    def test_boxes_of_both_images_are_those_of_the_pair_and_images_without_are_pairs_in_which_nothing_moved(
        self, yards, tmp_path
    ):
        annotations = [
            {"image_id": 1, "category_id": 9, "bbox": list(WAS)},
            {"image_id": 0, "category_id": 9, "bbox": list(IS)},
            {"image_id": 2, "category_id": 7, "bbox": [40.0, 20.0, 10.0, 8.0]},
        ]
        out = converted(tmp_path / "out", coco(tmp_path, annotations))
        assert read_pairs(out).names == ("person", "car")
        assert boxes_of(out) == {
            "yard_0": [("car", WAS), ("car", IS)],
            "yard_1": [("person", IS)],
            "yard_2": [],
        }
        assert (tmp_path / "out" / "after" / "yard_0.png").read_bytes() == (yards / "yard_0_after.png").read_bytes()

    def test_polygons_become_the_boxes_around_them(self, yards, tmp_path):
        polygons = [[40, 20, 50, 22, 45, 28], [42, 21, 49, 21, 44, 26]]
        file = coco(tmp_path, [{"image_id": 0, "category_id": 7, "segmentation": polygons}])
        assert boxes_of(converted(tmp_path / "out", file))["yard_0"] == [("person", IS)]

    def test_other_names_of_images_are_said_by_templates_or_by_a_list(self, yards, tmp_path):
        for number in range(3):
            (yards / f"yard_{number}_before.png").rename(yards / f"a-{number}.png")
            (yards / f"yard_{number}_after.png").rename(yards / f"b-{number}.png")
        file = coco(tmp_path, [{"image_id": 4, "category_id": 7, "bbox": list(IS)}])  # b-1
        expected = {"0": [], "1": [("person", IS)], "2": []}
        assert (
            boxes_of(converted(tmp_path / "one", file, "--before", "a-{stem}", "--after", "b-{stem}.png")) == expected
        )
        lines = ["id;before;after", "night/x;a-1.png;images/b-1.png", "y;a-0.png;b-2.png", "z;a-2.png;b-0.png"]
        (tmp_path / "pairs.csv").write_text("\n".join(lines))
        out = converted(tmp_path / "two", file, "--pair-list", tmp_path / "pairs.csv")
        assert boxes_of(out) == {"night/x": [("person", IS)], "y": [], "z": []}

    def test_all_faults_are_named_at_once_with_their_places(self, yards, tmp_path):
        annotations = [
            {"image_id": 99, "category_id": 7, "bbox": list(IS)},
            {"image_id": 0, "category_id": 1, "bbox": list(IS)},
            {"image_id": 0, "category_id": 7, "bbox": [1, 2, 3]},
            {"image_id": 0, "category_id": 7, "bbox": [1, 2, 3, 4, 30]},
            {"image_id": 0, "category_id": 7, "segmentation": {"counts": "abc", "size": [2, 2]}},
            {"image_id": 0, "category_id": 7, "bbox": [200, 2, 3, 4]},
            {"image_id": 0, "category_id": 7, "bbox": [20, 2, 0, 4]},
        ]
        file = coco(tmp_path, annotations)
        refused(convert(file, tmp_path / "out"), "7 fault(s)", f"all of them: {tmp_path / 'out-faults.csv'}")
        with (tmp_path / "out-faults.csv").open() as lines:
            rows = [(row["kind"], row["value"]) for row in csv.DictReader(lines)]
        assert rows == [
            ("unknown image_id", "annotations[0].image_id: 99"),
            ("unknown category_id", "annotations[1].category_id: 1"),
            ("no box", "annotations[2].bbox: [1, 2, 3]"),
            ("oriented box", "annotations[3].bbox: [1, 2, 3, 4, 30]"),
            ("no box", "annotations[4].segmentation: {'counts': 'abc', 'size': [2, 2]}"),
            ("box outside the image", "annotations[5].bbox: 200, 2, 3, 4"),
            ("zero or negative size", "annotations[6].bbox: 20, 2, 0, 4"),
        ]
        assert not (tmp_path / "out").exists()

    def test_what_is_no_coco_is_refused(self, tmp_path):
        file = tmp_path / "a.json"
        for text, said in (("{", "not readable as JSON"), ("[1]", "no COCO"), ('{"images": []}', "no COCO")):
            file.write_text(text)
            refused(convert(file, tmp_path / "out"), said)

    def test_labelled_images_that_are_in_no_pair_are_named(self, yards, tmp_path):
        file = coco(tmp_path, [{"image_id": 0, "category_id": 7, "bbox": list(IS)}])
        said = refused(
            convert(file, tmp_path / "out", "--before", "{stem}_then"), "no pairs at all", "--before and --after"
        )
        assert "image in no pair" in said

    def test_boxes_beyond_the_edge_are_cut(self, yards, tmp_path):
        file = coco(tmp_path, [{"image_id": 0, "category_id": 7, "bbox": [60, 40, 10, 20]}])
        assert boxes_of(converted(tmp_path / "out", file))["yard_0"] == [("person", (60, 40, 4, 8))]


def voc(file: Path, name: str, *objects: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"<annotation><filename>{name}</filename>{''.join(objects)}</annotation>")


def voc_object(name: str, left: int, top: int, width: int, height: int) -> str:
    corners = {"xmin": left, "ymin": top, "xmax": left + width, "ymax": top + height}
    box = "".join(f"<{corner}>{value}</{corner}>" for corner, value in corners.items())
    return f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"


def test_voc_is_read_from_files_beside_the_images_or_elsewhere(yards, tmp_path):
    voc(tmp_path / "labels" / "x1.xml", "yard_0_after.png", voc_object("car", *IS), voc_object("bike", 1, 2, 5, 6))
    voc(tmp_path / "labels" / "x2.xml", "yard_1_before.png")
    out = converted(tmp_path / "out", tmp_path / "labels", "--images", yards)
    assert boxes_of(out) == {"yard_0": [("bike", (1, 2, 5, 6)), ("car", IS)], "yard_1": []}
    voc(yards / "yard_2_after.xml", "renamed since.png", voc_object("car", *IS))
    assert boxes_of(converted(tmp_path / "beside", yards)) == {"yard_2": [("car", IS)]}


def test_oriented_boxes_and_broken_files_of_voc_are_named(yards, tmp_path):
    oriented = "<object><name>car</name><robndbox><cx>3</cx></robndbox></object>"
    voc(yards / "yard_0_after.xml", "yard_0_after.png", oriented, "<object><name>car</name></object>")
    (yards / "yard_1_after.xml").write_text("<annotation>")
    refused(convert(yards, tmp_path / "out"), "1 x oriented box", "1 x no box", "1 x not readable as XML")


def test_a_csv_of_boxes_says_corners_or_sizes(yards, tmp_path):
    lines = [
        "filename,width,height,class,xmin,ymin,xmax,ymax",
        "yard_0_after.png,64,48,car,40,20,50,28",
        "yard_0_before.png,64,48,car,4,6,14,14",
        "yard_2_after.png,64,48,,,,,",
    ]
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    out = converted(tmp_path / "out", tmp_path / "boxes.csv")
    assert boxes_of(out) == {"yard_0": [("car", WAS), ("car", IS)], "yard_2": []}
    (tmp_path / "sizes.csv").write_text("image;label;x;y;w;h\nyard_1_after.png;car;40;20;10;8\n")
    assert boxes_of(converted(tmp_path / "sizes", tmp_path / "sizes.csv")) == {"yard_1": [("car", IS)]}


def test_lines_of_a_csv_that_are_wrong_are_named_by_their_number(yards, tmp_path):
    file = tmp_path / "boxes.csv"
    file.write_text("image,class,x,y,w,h\nyard_0_after.png,car,a,2,3,4\nnobody.png,car,1,2,3,4\nyard_0_after.png,car\n")
    said = refused(convert(file, tmp_path / "out"), f"{file}:2: no box", f"{file}:3: no such image")
    assert f"{file}:4: fields do not fit the columns" in said
    file.write_text("image,class,x\nyard_0_after.png,car,1\n")
    refused(convert(file, tmp_path / "out"), "missing column", "top may be called top or ymin")


def sequence(folder: Path, paint, frames: int, tracks: dict[str, Any], **how: Any) -> Path:
    """A sequence of MOT; a track gives its left edge in a frame, or None where it is not seen."""
    lines = []
    for frame in range(1, frames + 1):
        seen = {id_: at(frame) for id_, at in tracks.items() if at(frame) is not None}
        squares = [(left, 10 * int(id_), 8, 8) for id_, left in seen.items() if 0 <= left < WIDTH]
        paint(folder / "img1" / f"{frame:06d}.png", *squares)
        lines += [f"{frame},{id_},{left},{10 * int(id_)},8,8,1,{how.get('class_', 1)},1" for id_, left in seen.items()]
    (folder / "gt").mkdir()
    (folder / "gt" / "gt.txt").write_text("\n".join([*lines, *how.get("more", ())]))
    if how.get("fps", 2):
        (folder / "seqinfo.ini").write_text(f"[Sequence]\nname=X\nframeRate={how.get('fps', 2)}\n")
    return folder


class TestTracks:
    def test_what_moved_is_labelled_twice_what_came_or_left_once_and_what_stayed_not(self, tmp_path, paint):
        tracks = {
            "1": lambda frame: 2 * frame,  # Moves by twice its size in 8 frames.
            "2": lambda frame: 20 + frame // 8,  # Stays, but for a pixel.
            "3": lambda frame: 30 if frame < 5 else None,  # Leaves.
            "4": lambda frame: 50 if frame > 7 else None,  # Comes; lower than the image at its lower edge.
        }
        folder = sequence(tmp_path / "X-01", paint, 9, tracks)
        out = converted(tmp_path / "out", folder, "--gap", 4, "--pairs", 5)
        assert boxes_of(out) == {
            "000001": sorted(
                [
                    *(("pedestrian", (2, 10, 8, 8)), ("pedestrian", (18, 10, 8, 8))),
                    *(("pedestrian", (30, 30, 8, 8)), ("pedestrian", (50, 40, 8, 8))),
                ]
            )
        }

    def test_so_many_pairs_are_spread_over_the_frames(self, tmp_path, paint):
        folder = sequence(tmp_path / "X", paint, 40, {"1": lambda frame: frame})
        out = converted(tmp_path / "out", folder, "--gap", 10, "--pairs", 4)
        data = read_pairs(out)
        assert sorted(pair.id for pair in (*data.train, *data.val)) == ["000001", "000006", "000011", "000016"]

    def test_a_share_of_its_size_says_what_has_moved(self, tmp_path, paint):
        tracks = {"1": lambda frame: 20 + frame, "2": lambda frame: 10 * frame}  # By 4 and 40 of 8 pixels.
        folder = sequence(tmp_path / "X", paint, 5, tracks)
        for share, boxes in ((0.6, 2), (0.4, 4)):
            out = converted(tmp_path / f"out-{share}", folder, "--gap", 2, "--min-move", share)
            assert len(boxes_of(out)["000001"]) == boxes

    def test_what_is_hardly_in_the_image_and_what_is_not_to_be_counted_is_left_out(self, tmp_path, paint):
        tracks = {"1": lambda frame: 20 * frame, "2": lambda frame: 62 - 40 * (frame - 1)}
        more = ["1,9,1,1,5,5,0,1,1"]
        out = converted(tmp_path / "out", sequence(tmp_path / "X", paint, 2, tracks, more=more), "--gap", 0.5)
        # 2 of 8 columns of track 2 are to be seen in frame 1.
        seen = [(20, 10, 8, 8), (22, 20, 8, 8), (40, 10, 8, 8)]
        assert boxes_of(out)["000001"] == [("pedestrian", box) for box in seen]

    def test_what_is_missing_is_named(self, tmp_path, paint):
        folder = sequence(tmp_path / "X", paint, 3, {"1": lambda frame: frame}, fps=None, more=["1,2,3", "x,1,1,1,1,1"])
        refused(convert(folder, tmp_path / "out"), "no frameRate", "give --fps")
        refused(convert(folder, tmp_path / "out", "--fps", 2), "no two frames so far apart", "smaller --gap")
        said = refused(
            convert(folder, tmp_path / "out", "--fps", 2, "--gap", 1), f"{folder / 'gt' / 'gt.txt'}:4: no track"
        )
        assert "gt.txt:5: no track" in said


class TestVideos:
    @pytest.fixture
    def sequence_and_video(self, tmp_path, paint) -> tuple[Path, Path]:
        """The same frames and tracks as a folder and as a video, of two frames a second."""
        tracks = {"1": lambda frame: 4 * frame, "2": lambda frame: 20}
        folder = sequence(tmp_path / "X", paint, 12, tracks)
        video = tmp_path / "yard.avi"
        writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 2, (WIDTH, HEIGHT))
        for frame in sorted((folder / "img1").iterdir()):
            writer.write(cv2.imread(str(frame)))
        writer.release()
        shutil.copy(folder / "gt" / "gt.txt", tmp_path / "yard.txt")
        return folder, video

    def test_a_video_gives_what_its_frames_give(self, tmp_path, sequence_and_video):
        outs = [
            converted(tmp_path / source.stem / "out", source, "--gap", 2, "--pairs", 4) for source in sequence_and_video
        ]
        assert boxes_of(outs[0]) == boxes_of(outs[1]) != {}
        for pair in boxes_of(outs[0]):
            for side in ("before", "after"):
                of_folder, of_video = (np.asarray(Image.open(out / side / f"{pair}.png"), float) for out in outs)
                assert np.abs(of_folder - of_video).mean() < 12, "the frames of the pair, but for their compression"

    def test_what_is_wrong_with_a_video_is_named(self, tmp_path, sequence_and_video):
        _, video = sequence_and_video
        refused(convert(video, tmp_path / "out", "--gap", 60), f"{video}: no two frames so far apart", "12 frames")
        whole = video.read_bytes()
        video.write_bytes(whole[: len(whole) // 2])
        refused(convert(video, tmp_path / "out", "--gap", 5), f"{video}: frames that cannot be read", "cut off or")
        video.write_bytes(b"no video")
        refused(convert(video, tmp_path / "out"), f"{video}: no frames", "convert it to .mp4")
        (tmp_path / "yard.txt").unlink()
        refused(convert(video, tmp_path / "out"), f"{video}: no tracks", str(tmp_path / "yard.txt"))


def test_matched_boxes_have_two_lines_an_object(yards, tmp_path):
    labels = tmp_path / "labels"
    labels.mkdir()
    (labels / "yard_0.txt").write_text("3 4 6 10 8 car\n3 40 20 10 8 car\n")
    (labels / "yard_1.txt").write_text("")
    out = converted(tmp_path / "out", labels, "--format", "matched", "--images", yards)
    assert boxes_of(out) == {"yard_0": [("car", WAS), ("car", IS)], "yard_1": []}
    (labels / "yard_0.txt").write_text("3 4 6 10 8 car\n4 40 20 10 8 car\n4 400 20 10 8 car\n5 1 2\n")
    (labels / "other.txt").write_text("")
    said = refused(
        convert(labels, tmp_path / "no", "--format", "matched", "--images", yards), "yard_0.txt:1: 1 line(s)"
    )
    assert "yard_0.txt:3: box outside the image" in said and "yard_0.txt:4: no box" in said
    assert "other.txt: no such frame (met: other_before, other_after)" in said


def test_boxes_of_a_before_image_go_along_where_the_camera_moved(tmp_path):
    pairs = write_pairs(tmp_path / "pairs")  # By 3 pixels or so in v1.
    images = tmp_path / "images"
    images.mkdir()
    for side in ("before", "after"):
        Image.open(pairs / side / "v1.png").save(images / f"v1_{side}.png")
    (tmp_path / "boxes.csv").write_text("image,class,x,y,w,h\nv1_before.png,car,20,20,10,8\n")
    still = boxes_of(converted(tmp_path / "still", tmp_path / "boxes.csv"))["v1"]
    along = boxes_of(converted(tmp_path / "along", tmp_path / "boxes.csv", "--align", "auto"))["v1"]
    found = registration(*(open_image(pairs / side / "v1.png") for side in ("before", "after")), "auto")
    assert found.shift > 2
    at_after = np.linalg.inv(found.matrix) @ [20, 20, 1]
    assert still == [("car", (20, 20, 10, 8))]
    assert np.abs(np.array(along[0][1][:2]) - at_after[:2] / at_after[2]).max() <= 1 and along != still


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "no such file or folder"),
        (("images",), "no format that is known by its looks"),
        (("images", "--before", "x"), "{stem} in them once"),
        (("images", "--before", "{stem}", "--after", "{stem}"), "name the same image"),
        (("images", "--align", "sideways"), "--align sideways: one of off, translation"),
    ],
)
def test_what_cannot_be_converted_is_refused(yards, tmp_path, words, said):
    first, *others = words
    refused(convert(tmp_path / first, tmp_path / "out", *others), said)


def test_where_nothing_moved_in_any_pair_there_is_nothing_to_learn(tmp_path, paint):
    folder = sequence(tmp_path / "X", paint, 5, {"1": lambda frame: 20})
    refused(convert(folder, tmp_path / "out", "--gap", 1), "nothing moved in any pair (met: 3 pairs)")


def test_nothing_is_written_over(yards, tmp_path):
    (tmp_path / "out").mkdir()
    refused(convert(yards, tmp_path / "out"), "is there already")


def test_images_of_two_sizes_and_broken_ones_are_named(yards, tmp_path, paint):
    paint(yards / "yard_0_after.png", size=(32, 48))
    (yards / "yard_1_after.png").write_bytes(b"no image")
    file = coco(tmp_path, [])
    refused(convert(file, tmp_path / "out"), "1 x images of two sizes", "1 x unreadable image")
