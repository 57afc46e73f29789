"""What a model saw and missed, drawn on the after image and on the difference, side by side."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from results.drawing.canvas import Mark, Panel, Pen, draw_sheet
from results.drawing.lettering import in_ascii
from trainable.alignment import OFF
from trainable.data.difference import ImageError, difference
from trainable.data.pair import Pair
from trainable.data.signal_images import aligned_difference, open_pair
from trainable.detection import IOU_THRESHOLD, Detections, GroundTruth, match

if TYPE_CHECKING:
    from trainable.training.evaluation import Evaluation

# Okabe and Ito's colours, which readers with any common colour blindness can tell apart; beside white they also differ
# in brightness, and every kind has a line style of its own, so that a grey print can be read.
LABEL = Pen("#ffffff", thickness=0.6)
TRUE_POSITIVE = Pen("#56b4e9", dashes=(6, 5), thickness=1.2)
FALSE_POSITIVE = Pen("#d55e00", dashes=(0, 3.2), thickness=1.2)
MISS = Pen("#f0e442", dashes=(5, 4, 0, 4), thickness=1.2)
PREDICTION = Pen("#56b4e9", thickness=1.2)

COMPRESSION = 1
"""Compression of PNG files: it takes a third of the time of Pillow's own choice for an eighth more bytes."""

REGISTRATIONS = 3
"""Pairs at most that are drawn as they are and registered."""

_MOST_GAIN = 4.0
"""Differences are shown at most so many times brighter; more would show a still pair's noise as if it were much."""


def draw_overlay(
    pair: Pair,
    detections: Detections,
    ground_truth: GroundTruth,
    names: Sequence[str],
    score_threshold: float,
    alignment: str = OFF,
) -> Image.Image:
    """The labels of a pair and what was detected, each right, wrong or missed, by the rule of `trainable.detection`.

    Args:
        pair: whose images are drawn on.
        detections: all of this pair.
        ground_truth: its labels.
        names: class names, by class id.
        score_threshold: detections below it are left out; what only they find is missed.
        alignment: by what the difference is registered that is shown.

    Raises:
        ImageError: an image can no longer be read.
    """
    found = _at_least(detections, score_threshold)
    taken = match([found], [ground_truth], [IOU_THRESHOLD]).labels[:, 0]
    is_missed = ~np.isin(np.arange(len(ground_truth.class_ids)), taken)
    right, wrong = taken >= 0, taken < 0
    marks = [
        *(Mark(box, LABEL) for box in ground_truth.boxes_xyxy_normalised[~is_missed]),
        *(
            Mark(box, MISS, f"missed {names[class_id]}", otherwise=f"missed {_otherwise(names, class_id)}")
            for box, class_id in zip(
                ground_truth.boxes_xyxy_normalised[is_missed], ground_truth.class_ids[is_missed], strict=True
            )
        ),
        *_detection_marks(found, wrong, names, FALSE_POSITIVE),
        *_detection_marks(found, right, names, TRUE_POSITIVE),
    ]
    legend = [
        (LABEL, _counted(len(is_missed) - is_missed.sum(), "label found")),
        (TRUE_POSITIVE, _counted(right.sum(), "true positive")),
        (FALSE_POSITIVE, _counted(wrong.sum(), "false positive")),
        (MISS, _counted(is_missed.sum(), "label missed")),
    ]
    note = f"score >= {score_threshold:.2f}, IoU >= {IOU_THRESHOLD}"
    return draw_sheet(pair.id, note, _panels(*open_pair(pair), alignment), marks, legend)


def draw_predictions(
    before: Image.Image,
    after: Image.Image,
    title: str,
    detections: Detections,
    names: Sequence[str],
    score_threshold: float,
    alignment: str = OFF,
) -> Image.Image:
    """What was detected in a pair that has no labels.

    Args:
        before: the before image.
        after: the after image, of the same size.
        title: the headline.
        detections: all of this pair.
        names: class names, by class id.
        score_threshold: detections below it are left out.
        alignment: by what the difference is registered that is shown.
    """
    found = _at_least(detections, score_threshold)
    marks = _detection_marks(found, np.ones(len(found.scores), dtype=bool), names, PREDICTION)
    legend = [(PREDICTION, _counted(len(marks), "detection"))]
    return draw_sheet(title, f"score >= {score_threshold:.2f}", _panels(before, after, alignment), marks, legend)


def write_overlays(
    evaluation: "Evaluation",
    pairs: Sequence[Pair],
    names: Sequence[str],
    order: Sequence[int],
    score_threshold: float,
    out: Path,
    count: int,
    skip_bad: bool = False,
    alignment: str = OFF,
) -> list[Path]:
    """Draws the worst, the best and some middle pairs, a third each, as `worst-1_ID.png` and so on.

    Args:
        evaluation: of `pairs`.
        pairs: the images that were evaluated, without those that could not be read.
        names: class names, by class id.
        order: indices of `pairs`, the worst first.
        score_threshold: see `draw_overlay`.
        out: folder, made where `count` is above 0.
        count: how many pairs to draw, fewer where there are not as many.
        skip_bad: leave out what can no longer be read.
        alignment: by what the differences are registered that are shown.

    Returns:
        The files, the worst first, then the middle ones, then the best, the very best last.

    Raises:
        ImageError: an image can no longer be read, without `skip_bad`.
    """
    paths = []
    for name, index in _chosen(order, count):
        out.mkdir(parents=True, exist_ok=True)
        pair = pairs[index]
        try:
            sheet = draw_overlay(
                pair, evaluation.detections[index], evaluation.ground_truth[index], names, score_threshold, alignment
            )
        except ImageError:
            if skip_bad:
                continue
            raise
        path = out / f"{name}_{file_name(pair.id)}.png"
        sheet.save(path, compress_level=COMPRESSION)
        paths.append(path)
    return paths


def write_registrations(metrics: Mapping[str, Any], pairs: Sequence[Pair], out: Path, skip_bad: bool = False) -> None:
    """Draws the pairs whose camera moved most, as they are and registered, into the folder `out`; made where any did.

    Args:
        metrics: contents of `metrics.json`, whose `cameras` say how they moved.
        pairs: the images that were evaluated.
        out: folder of the files.
        skip_bad: leave out what can no longer be read.

    Raises:
        ImageError: an image can no longer be read, without `skip_bad`.
    """
    cameras, by_id = metrics.get("cameras") or {"pairs": ()}, {pair.id: pair for pair in pairs}
    moved = [row for row in cameras["pairs"] if row["shift"]]
    for row in moved[:REGISTRATIONS]:
        out.mkdir(parents=True, exist_ok=True)
        try:
            sheet = draw_registration(by_id[row["id"]], cameras["alignment"], f"{row['model']}, {row['shift']:.1f} px")
        except ImageError:
            if skip_bad:
                continue
            raise
        sheet.save(out / f"{file_name(row['id'])}.png", compress_level=COMPRESSION)


def _chosen(order: Sequence[int], count: int) -> list[tuple[str, int]]:
    count = min(count, len(order))
    worst, best = -(-count // 3), (count + 1) // 3
    middle = count - worst - best
    start = worst + (len(order) - count) // 2
    return [
        *((f"worst-{rank}", index) for rank, index in enumerate(order[:worst], start=1)),
        *((f"middle-{rank}", index) for rank, index in enumerate(order[start : start + middle], start=1)),
        *((f"best-{best - rank}", index) for rank, index in enumerate(order[len(order) - best :])),
    ]


def file_name(id_: str) -> str:
    """The id without slashes and other signs that a file system may refuse, and not too long for one."""
    return re.sub(r"[^\w.-]+", "_", id_)[-60:]


def _at_least(detections: Detections, score_threshold: float) -> Detections:
    kept = detections.scores >= score_threshold
    return Detections(detections.boxes_xyxy_normalised[kept], detections.scores[kept], detections.class_ids[kept])


def _detection_marks(found: Detections, kept: np.ndarray, names: Sequence[str], pen: Pen) -> list[Mark]:
    return [
        Mark(box, pen, names[class_id], f"{score:.2f}", _otherwise(names, class_id))
        for box, score, class_id in zip(
            *(found.boxes_xyxy_normalised[kept], found.scores[kept], found.class_ids[kept]), strict=True
        )
    ]


def _otherwise(names: Sequence[str], class_id: int) -> str:
    """What a class is called where its name cannot be drawn: the name without accents, if that tells it apart."""
    plain = [in_ascii(name) for name in names]
    return plain[class_id] if "?" not in plain[class_id] and plain.count(plain[class_id]) == 1 else f"class {class_id}"


def draw_registration(pair: Pair, alignment: str, note: str) -> Image.Image:
    """The difference of a pair whose camera moved, as it is and registered, as bright as each other.

    Raises:
        ImageError: an image can no longer be read.
    """
    before, after = open_pair(pair)
    both = (difference(before, after), aligned_difference(before, after, alignment))
    gain = max(1.0, min(_gain(each) for each in both))
    titles = ("difference as it is", "difference, registered")
    panels = [Panel(title, _brighter(each, gain)) for title, each in zip(titles, both, strict=True)]
    return draw_sheet(pair.id, note, panels, [], [])


def _panels(before: Image.Image, after: Image.Image, alignment: str) -> list[Panel]:
    changed = aligned_difference(before, after, alignment)
    title = "difference" if alignment == OFF else "difference, registered"
    return [Panel("after", after.copy()), brightened(title, changed)]


def brightened(title: str, changed: Image.Image) -> Panel:
    """A difference bright enough to be seen, and how much brighter that is."""
    gain = _gain(changed)
    brighter = "" if gain < 1.05 else f", {gain:.1f} times as bright"
    return Panel(f"{title}{brighter}", _brighter(changed, gain))


def _gain(changed: Image.Image) -> float:
    """How many times brighter a difference is shown."""
    brightest = float(np.percentile(np.asarray(changed), 99.5))
    return min(max(255 / max(brightest, 1.0), 1.0), _MOST_GAIN)


def _brighter(changed: Image.Image, gain: float) -> Image.Image:
    return changed.point([min(255, round(value * gain)) for value in range(256)] * 3)


def _counted(number: int, what: str) -> str:
    noun, _, rest = what.partition(" ") if what.startswith("label") else (what, "", "")
    plural = noun if number == 1 else f"{noun}s"
    return f"{number} {plural} {rest}".rstrip()
