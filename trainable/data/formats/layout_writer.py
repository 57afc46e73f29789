"""A data set of any format as our own layout on disk."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from trainable.alignment import OFF
from trainable.data.class_names import NAMES_FILE, checked_names
from trainable.data.difference import ImageError, open_image
from trainable.data.faults import DataError, Fault
from trainable.data.formats.labelled import Labelled, LabelledPair, PixelBox
from trainable.data.model_input import Size

VISIBLE = 0.3
"""Least share of a track's box that is in the image; of others, any share will do."""

_Edges = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True)
class Written:
    """What was written."""

    names: tuple[str, ...]
    pairs: int
    boxes: int
    empty: int
    """Pairs in which nothing moved."""


def write_layout(found: Labelled, out: Path, alignment: str = OFF) -> Written:
    """Writes `before`, `after`, `labels` and `classes.txt`; images are copied as they are.

    Boxes are cut at the image's edge, and written once each. Labels are in the frame of the after image: with an
    alignment, boxes that were seen in the before image go along where the camera moved.

    Args:
        found: as a format was read, with its faults.
        out: a folder that is not there yet; it appears only when whole.
        alignment: by what pairs are registered, one of `trainable.alignment.ALIGNMENTS`.

    Raises:
        DataError: naming all that is wrong with the data; nothing is written then.
        OSError: the folder cannot be written.
    """
    faults = list(found.faults)
    if not faults and not found.all_names():
        met, advice = f"{len(found.pairs)} pairs", "label what moved, on both images of a pair or on one of them"
        faults.append(Fault("nothing moved in any pair", str(out), None, met, advice))
    names = checked_names(found.all_names(), str(out / NAMES_FILE), faults) if found.all_names() else ()
    ids = {name: class_id for class_id, name in enumerate(names)}
    texts = {pair.id: list(_lines(pair, ids, found.may_leave, alignment, faults)) for pair in found.pairs}
    if faults:
        raise DataError(faults)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{out.name}-", dir=out.parent) as workshop:
        made = Path(workshop) / "made"
        for pair in found.pairs:
            for side, image in (("before", pair.before), ("after", pair.after)):
                _copy(image, made / side / f"{pair.id}{image.suffix}")
            label = made / "labels" / f"{pair.id}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("".join(f"{line}\n" for line in texts[pair.id]), encoding="utf-8")
        (made / NAMES_FILE).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        made.rename(out)
    boxes = sum(map(len, texts.values()))
    return Written(names, len(texts), boxes, sum(not lines for lines in texts.values()))


def _copy(image: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(image, to)


def _lines(
    pair: LabelledPair, ids: dict[str, int], may_leave: bool, alignment: str, faults: list[Fault]
) -> Iterator[str]:
    """The lines of a pair's label file."""
    try:
        before, after = open_image(pair.before), open_image(pair.after)
    except ImageError as error:
        faults.append(Fault("unreadable image", f"{pair.before}, {pair.after}", None, str(error), "replace it"))
        return
    if before.size != after.size:
        met, advice = f"{before.size} and {after.size}", "both images of a pair must be of one size"
        faults.append(Fault("images of two sizes", str(pair.after), None, met, advice))
        return
    lines: dict[str, None] = {}
    for box, edges in _placed(pair, before, after, alignment):
        cut = _cut(box, edges, after.size, VISIBLE if may_leave else 0.0)
        if isinstance(cut, Fault):
            faults += [] if may_leave else [cut]
        elif cut:
            cx, cy, width, height = cut
            lines[f"{ids[box.name]} {cx:.8f} {cy:.8f} {width:.8f} {height:.8f}"] = None
    yield from lines


def _placed(
    pair: LabelledPair, before: Image.Image, after: Image.Image, alignment: str
) -> Iterator[tuple[PixelBox, _Edges]]:
    """The boxes of a pair in the frame of the after image."""
    for box in pair.seen_after:
        yield box, _edges(box)
    if alignment == OFF or not pair.seen_before:
        yield from ((box, _edges(box)) for box in pair.seen_before)
        return
    # OpenCV takes memory and time to import: only where it is asked for.
    from trainable.data.registration import registration

    motion = np.linalg.inv(registration(before, after, alignment).matrix)
    for box in pair.seen_before:
        left, top, right, bottom = _edges(box)
        corners = np.array([[left, top, 1], [right, top, 1], [right, bottom, 1], [left, bottom, 1]]) @ motion.T
        x, y = (corners[:, axis] / corners[:, 2] for axis in (0, 1))
        yield box, (float(x.min()), float(y.min()), float(x.max()), float(y.max()))


def _edges(box: PixelBox) -> _Edges:
    return box.left, box.top, box.left + box.width, box.top + box.height


def _cut(box: PixelBox, edges: _Edges, size: Size, visible: float) -> tuple[float, float, float, float] | Fault:
    """Centre, width and height of what is within the image, as shares of it; the fault of a box that is not."""
    met = ", ".join(f"{value:g}" for value in (box.left, box.top, box.width, box.height))
    if min(box.width, box.height) <= 0:
        return box.place.fault("zero or negative size", met, "remove it, or give its width and height")
    left, top, right, bottom = edges
    low_x, low_y, high_x, high_y = max(left, 0.0), max(top, 0.0), min(right, size[0]), min(bottom, size[1])
    inside = max(high_x - low_x, 0.0) * max(high_y - low_y, 0.0)
    if inside <= visible * (right - left) * (bottom - top):
        return box.place.fault("box outside the image", met, f"the image is {size[0]} x {size[1]} pixels")
    width, height = size
    return (
        (low_x + high_x) / 2 / width,
        (low_y + high_y) / 2 / height,
        (high_x - low_x) / width,
        (high_y - low_y) / height,
    )
