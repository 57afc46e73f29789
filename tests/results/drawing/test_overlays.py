"""What a reader sees in an overlay: which kinds of boxes, on both images, whole, at any size."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results.drawing.canvas import Mark, Panel, draw_sheet
from results.drawing.overlays import (
    FALSE_POSITIVE,
    LABEL,
    MISS,
    PREDICTION,
    TRUE_POSITIVE,
    draw_overlay,
    draw_predictions,
    write_overlays,
)
from trainable.data.annotations import Labels
from trainable.data.pair import Pair
from trainable.detection import Detections, GroundTruth
from trainable.training.evaluation import Evaluation

NAMES = ("person", "car")
BOX, ELSEWHERE = (0.2, 0.3, 0.5, 0.7), (0.6, 0.1, 0.9, 0.4)
LEGEND_LINES = 30  # pixels at the foot, where every kind is drawn

PENS = {"label": LABEL, "true positive": TRUE_POSITIVE, "false positive": FALSE_POSITIVE, "miss": MISS}


def found(*boxes: Sequence[float], score: float = 0.9, class_id: int = 0) -> Detections:
    count = len(boxes)
    return Detections(np.array(boxes).reshape(-1, 4), np.full(count, score), np.full(count, class_id))


def labelled(*boxes: Sequence[float]) -> GroundTruth:
    return GroundTruth(np.array(boxes).reshape(-1, 4), np.zeros(len(boxes), dtype=np.int64))


def make_pair(folder: Path, size: tuple[int, int], id_: str = "yard/0001") -> Pair:
    for name, grey in (("before", 90), ("after", 91)):
        Image.new("RGB", size, (grey, grey, grey)).save(folder / f"{name}.png")
    return Pair(id_, folder / "before.png", folder / "after.png", size, Labels((), ()), "")


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path, (64, 48))


def pixels_of(image: Image.Image, colour: str) -> int:
    wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
    return int((np.asarray(image) == wanted).all(axis=-1).sum())


def halves(sheet: Image.Image) -> list[Image.Image]:
    """The after image and the difference, without the legend."""
    height = sheet.height - LEGEND_LINES
    return [sheet.crop((left, 0, left + sheet.width // 2, height)) for left in (0, sheet.width // 2)]


def kinds(sheet: Image.Image) -> set[str]:
    """The kinds of boxes that are drawn, the same on both images."""
    after, difference = (
        {kind for kind, pen in PENS.items() if pixels_of(half, pen.colour) > 20} for half in halves(sheet)
    )
    assert after == difference
    return after


@pytest.mark.parametrize(
    ("detections", "ground_truth", "expected"),
    [
        (found(BOX), labelled(BOX), {"label", "true positive"}),
        (found(ELSEWHERE), labelled(BOX), {"false positive", "miss"}),
        (found(BOX, class_id=1), labelled(BOX), {"false positive", "miss"}),
        (found(BOX, BOX), labelled(BOX), {"label", "true positive", "false positive"}),
        (found(BOX, score=0.3), labelled(BOX), {"miss"}),
        (found(BOX), labelled(), {"false positive"}),
        (found(), labelled(), set()),
    ],
    ids=["found", "elsewhere", "wrong class", "twice", "below the threshold", "still pair", "nothing"],
)
def test_every_kind_of_box_is_drawn_on_both_images(pair, detections, ground_truth, expected):
    shifted = replace(ground_truth, boxes_xyxy_normalised=ground_truth.boxes_xyxy_normalised + 0.02)
    assert kinds(draw_overlay(pair, detections, shifted, NAMES, score_threshold=0.5)) == expected


def test_kinds_can_be_told_apart_without_colours():
    assert len({pen.dashes for pen in PENS.values()}) == len(PENS)
    greys = sorted(Image.new("RGB", (1, 1), pen.colour).convert("L").getpixel((0, 0)) for pen in PENS.values())
    assert all(brighter - darker > 30 for darker, brighter in pairwise(greys))


@pytest.mark.parametrize("size", [(20, 15), (64, 48), (2000, 1500), (1500, 2000), (30, 600)])
def test_images_of_any_size_become_readable(tmp_path, size):
    sheet = draw_overlay(make_pair(tmp_path, size), found(BOX), labelled(BOX), NAMES, 0.5)
    assert 600 <= sheet.width <= 2000
    assert sheet.height <= 1500


def test_captions_stay_within_the_image(pair):
    corners = [(0, 0, 0.3, 0.3), (0.7, 0, 1, 0.3), (0, 0.7, 0.3, 1), (0.7, 0.7, 1, 1)]
    inside = (0.35, 0.35, 0.65, 0.65)
    seen = []
    for box in (inside, *corners):
        sheet = draw_overlay(pair, found(box), labelled(), ("a class with a long name",), 0.5)
        seen.append(pixels_of(halves(sheet)[0], FALSE_POSITIVE.colour))
    assert min(seen[1:]) > 0.85 * seen[0], "part of a caption is cut off"


def test_captions_of_neighbours_do_not_cover_each_other(pair):
    def pixels(*captions: str) -> int:
        marks = [Mark(BOX, MISS, caption) for caption in captions]
        return pixels_of(draw_sheet("", "", [Panel("", Image.open(pair.after))], marks, []), MISS.colour)

    outline = pixels("")
    caption = pixels("person") - outline
    assert pixels(*["person"] * 6) == pytest.approx(outline + 6 * caption, rel=0.05)


def test_names_that_the_font_lacks_do_not_stop_the_drawing(pair):
    sheet = draw_overlay(replace(pair, id="Straße/été"), found(BOX), labelled(BOX), ("人",), 0.5)
    assert "true positive" in kinds(sheet)


def test_predictions_are_drawn_without_labels():
    before, after = (Image.new("RGB", (64, 48), (grey,) * 3) for grey in (0, 40))
    sheet = draw_predictions(before, after, "0001", found(BOX), NAMES, score_threshold=0.5)
    assert all(pixels_of(half, PREDICTION.colour) > 100 for half in halves(sheet))
    assert pixels_of(sheet, MISS.colour) == 0


def test_the_images_handed_in_are_left_alone():
    before, after = (Image.new("RGB", (700, 480), (grey,) * 3) for grey in (0, 40))
    draw_predictions(before, after, "0001", found(BOX), NAMES, score_threshold=0.5)
    assert after.getcolors() == [(700 * 480, (40, 40, 40))]


@pytest.fixture
def evaluated(pair: Pair) -> tuple[Evaluation, list[Pair]]:
    pairs = [replace(pair, id=f"yard/{index:04d}") for index in range(7)]
    return Evaluation({}, [found(BOX)] * 7, [labelled(BOX)] * 7), pairs


def test_worst_middle_and_best_pairs_are_drawn(tmp_path, evaluated):
    evaluation, pairs = evaluated
    worst_first = [6, 5, 4, 3, 2, 1, 0]
    paths = write_overlays(evaluation, pairs, NAMES, worst_first, 0.5, tmp_path / "overlays", count=5)
    assert [path.name for path in paths] == [
        "worst-1_yard_0006.png",
        "worst-2_yard_0005.png",
        "middle-1_yard_0003.png",
        "best-2_yard_0001.png",
        "best-1_yard_0000.png",
    ]
    assert sorted((tmp_path / "overlays").iterdir()) == sorted(paths)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 7, 12])
def test_no_pair_is_drawn_twice(tmp_path, evaluated, count, monkeypatch):
    evaluation, pairs = evaluated
    monkeypatch.setattr("results.drawing.overlays.draw_overlay", lambda *_: Image.new("RGB", (1, 1)))
    paths = write_overlays(evaluation, pairs, NAMES, range(7), 0.5, tmp_path / "overlays", count)
    ids = [path.stem.partition("_")[2] for path in paths]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids) == min(count, 7)
    assert paths[0].name.startswith("worst-1_yard_0000")


def test_nothing_is_written_when_none_are_asked_for(tmp_path, evaluated):
    evaluation, pairs = evaluated
    assert write_overlays(evaluation, pairs, NAMES, range(7), 0.5, tmp_path / "overlays", count=0) == []
    assert not (tmp_path / "overlays").exists()
