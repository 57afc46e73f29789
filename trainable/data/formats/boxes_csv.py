"""A CSV of boxes, one a line, in pixels."""

from pathlib import Path

from trainable.data.formats.labelled import Labelled, PixelBox, Place
from trainable.data.formats.numbers import numbers
from trainable.data.formats.pairing import Images, Rule, paired, unknown_images
from trainable.data.formats.table import read_table

COLUMNS = {
    "image": ("image", "filename", "file_name", "image_name", "file"),
    "class": ("class", "label", "name", "category"),
    "left": ("left", "xmin", "x_min", "x1", "x"),
    "top": ("top", "ymin", "y_min", "y1", "y"),
    "right": ("right", "xmax", "x_max", "x2"),
    "bottom": ("bottom", "ymax", "y_max", "y2"),
    "width": ("w", "box_width", "width"),
    "height": ("h", "box_height", "height"),
}
"""What is read, and the names that its column may have."""
_OPTIONAL = ("right", "bottom", "width", "height")


def read_boxes(file: Path, folder: Path, rule: Rule) -> Labelled:
    """Reads a CSV with a line of column names; a line with an image alone says that nothing moved there.

    Args:
        file: the table. Right and bottom are taken before width and height, which some tools give of the image.
        folder: of the images.
        rule: which of them are a pair.
    """
    found = Labelled()
    images = Images(folder, found.faults)
    rows = read_table(file, COLUMNS, _OPTIONAL, found.faults)
    places = {row["image"]: Place(str(file), line) for line, row in reversed(rows)}
    ids = unknown_images(places.items(), images, found.faults)
    boxes: dict[str, list[PixelBox]] = {id_: [] for id_ in ids.values()}
    for line, row in rows:
        place, corner = Place(str(file), line), [row["left"], row["top"]]
        if not any([row["class"], *corner]):
            continue
        by_corners = numbers([*corner, row["right"], row["bottom"]], 4)
        by_size = numbers([*corner, row["width"], row["height"]], 4)
        if not row["class"] or not (by_corners or by_size):
            advice = "a line has a class and left, top, right, bottom (or left, top, w, h) in pixels"
            found.faults.append(place.fault("no box", ", ".join(row.values()), advice))
            continue
        left, top, width, height = by_size or (0.0, 0.0, 0.0, 0.0)
        if by_corners:
            left, top, right, bottom = by_corners
            width, height = right - left, bottom - top
        if id_ := ids.get(row["image"]):
            boxes[id_].append(PixelBox(row["class"], place, left, top, width, height))
    paired(images, rule, boxes, found)
    return found
