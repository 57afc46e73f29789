"""Label files: the boxes of what moved, one a line as `class_id x_center y_center width height`, in shares of the
image.

A line of a segment, `class_id x1 y1 x2 y2 x3 y3 ...`, stands for the box around it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainable.data.absence import LFS_POINTER, cause_of, is_lfs_pointer
from trainable.data.faults import Fault
from trainable.text.text_file import read_text

FIELDS = ("class_id", "x_center", "y_center", "width", "height")
EDGE_TOLERANCE = 1e-3
"""How far a box may reach over the edge, as a share of the image; tools round. Such a box is clipped."""
MOST_CLASSES = 1000
"""Class ids must be below this where nothing says how many classes there are: a stray number is no thousand names."""

_ORIENTED = 9
"""Fields of a line of a class and four corners: an oriented box, as YOLO writes it."""

_Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Labels:
    """The boxes of one pair, in the order of the file; none means that nothing moved."""

    class_ids: tuple[int, ...]
    boxes_cxcywh_normalised: tuple[_Box, ...]
    """Centre, width and height in [0, 1] of the image; every box lies within it and is larger than 0."""


def read_labels(path: Path, number_of_classes: int | None) -> tuple[Labels, list[Fault]]:
    """Reads a label file and names all that is wrong with it.

    Blank lines, CRLF, a byte-order mark and spaces at the end of a line are fine.

    Args:
        path: the label file.
        number_of_classes: class ids must be below this; None where the data set gives no names.

    Returns:
        The boxes of the lines without fault, and the faults of the others. Nothing is raised for a bad file.
    """
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = f"byte 0x{error.object[error.start]:02x}"
        return Labels((), ()), [Fault("not UTF-8", str(path), line, byte, "save the label file as plain UTF-8 text")]
    except OSError as error:
        return Labels((), ()), [cause_of(error, path).fault("label file", str(path))]
    if is_lfs_pointer(text.encode()):
        return Labels((), ()), [LFS_POINTER.fault("label file", str(path))]
    return _parse(text, str(path), number_of_classes)


def _parse(text: str, file: str, number_of_classes: int | None) -> tuple[Labels, list[Fault]]:
    first_lines: dict[tuple[float, ...], int] = {}
    boxes: list[tuple[int, _Box]] = []
    faults: list[Fault] = []
    for number, line in enumerate(text.split("\n"), start=1):
        fields = line.split()
        if not fields:
            continue
        broken = list(_line_faults(fields, number_of_classes))
        if not broken:
            class_id, box = int(fields[0]), _box(fields)
            first = first_lines.setdefault((class_id, *box), number)
            if first == number:
                boxes.append((class_id, _clipped(*box)))
            else:
                broken = [("repeated line", line.strip(), f"remove it: line {first} is the same box")]
        faults += [Fault(kind, file, number, _shortened(value), advice) for kind, value, advice in broken]
    return Labels(tuple(class_id for class_id, _ in boxes), tuple(box for _, box in boxes)), faults


def _line_faults(fields: list[str], number_of_classes: int | None) -> Iterator[tuple[str, str, str]]:
    """Kind, value and advice of everything wrong with one line, taken alone."""
    if len(fields) == _ORIENTED:
        yield "oriented box", " ".join(fields), "boxes lie along the edges of the image: export them as upright ones"
        return
    names = ("x", "y") * ((len(fields) - 1) // 2) if _is_segment(fields) else FIELDS[1:]
    if len(fields) != 1 + len(names):
        kind = "too few fields" if len(fields) < len(FIELDS) else "too many fields"
        yield kind, " ".join(fields), f"a line is: {' '.join(FIELDS)}"
        return
    yield from _class_faults(fields[0], number_of_classes)
    broken = [fault for name, field in zip(names, fields[1:], strict=True) for fault in _field_faults(name, field)]
    yield from broken or _box_faults(*_box(fields))


def _is_segment(fields: list[str]) -> bool:
    """Whether a line is a class and the corners of a polygon."""
    return len(fields) >= 7 and len(fields) % 2 == 1


def _box(fields: list[str]) -> _Box:
    """The box of a line of numbers; of a segment the one around it."""
    values = [float(field) for field in fields[1:]]
    if not _is_segment(fields):
        x, y, width, height = values
        return x, y, width, height
    (left, right), (top, bottom) = ((min(values[axis::2]), max(values[axis::2])) for axis in (0, 1))
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _class_faults(field: str, number_of_classes: int | None) -> Iterator[tuple[str, str, str]]:
    try:
        class_id = int(_plain(field))
    except ValueError:
        yield "class id not an integer", field, "write the number of the class, counted from 0"
        return
    if number_of_classes is not None and not 0 <= class_id < number_of_classes:
        yield "class id outside names", field, f"the names give classes 0 to {number_of_classes - 1}"
    elif not 0 <= class_id < MOST_CLASSES:
        yield "class id outside names", field, f"0 to {MOST_CLASSES - 1}, or list the names in classes.txt"


def _field_faults(name: str, field: str) -> Iterator[tuple[str, str, str]]:
    try:
        value = float(_plain(field))
    except ValueError:
        yield "not a number", field, f"{name} is a number from 0 to 1, with a decimal point"
        return
    if not math.isfinite(value):
        yield "NaN or infinity", field, f"{name} is a number from 0 to 1"
    elif name in ("width", "height") and value <= 0:
        yield "zero or negative size", field, f"{name} must be above 0; remove the line if there is no object"
    elif not -EDGE_TOLERANCE <= value <= 1 + EDGE_TOLERANCE:
        yield "coordinate outside [0, 1]", field, f"{name} is a share of the image, not pixels: from 0 to 1"


def _box_faults(cx: float, cy: float, width: float, height: float) -> Iterator[tuple[str, str, str]]:
    for axis, centre, length in (("x", cx, width), ("y", cy, height)):
        low, high = centre - length / 2, centre + length / 2
        met = f"{axis} from {low:.6g} to {high:.6g}"
        if low < -EDGE_TOLERANCE or high > 1 + EDGE_TOLERANCE:
            yield "box beyond the edge", met, "cut the box at the image's edge"
        elif min(high, 1.0) <= max(low, 0.0):
            yield "zero or negative size", met, "nothing of the box is within the image; remove the line"


def _plain(field: str) -> str:
    """The field, if it is written as files write numbers; Python alone would also read `1_0` and other scripts."""
    if "_" in field or not field.isascii():
        raise ValueError(field)
    return field


def _clipped(cx: float, cy: float, width: float, height: float) -> _Box:
    (cx, width), (cy, height) = _clipped_span(cx, width), _clipped_span(cy, height)
    return cx, cy, width, height


def _clipped_span(centre: float, length: float) -> tuple[float, float]:
    low, high = centre - length / 2, centre + length / 2
    if low >= 0 and high <= 1:
        return centre, length
    low, high = max(low, 0.0), min(high, 1.0)
    return (low + high) / 2, high - low


def _shortened(text: str, most: int = 80) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."
