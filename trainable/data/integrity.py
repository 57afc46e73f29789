"""Whether the files of one pair can be used: the pictures are decoded, the labels parsed."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from trainable.data.absence import cause_at
from trainable.data.annotations import Labels, read_labels
from trainable.data.difference import PictureError, open_picture, stored_size
from trainable.data.faults import Fault
from trainable.data.files import PairFiles
from trainable.shown import is_plain, shown

PIXEL_LIMIT = 50_000_000
"""Most pixels of a picture, unless something else is asked for: more would be decoded to 150 MB and over."""


def check_files(
    id_: str, files: PairFiles, number_of_classes: int | None, pixel_limit: int
) -> tuple[tuple[int, int], Labels, list[Fault]]:
    """Checks the label file and both pictures of one pair.

    Args:
        id_: of a pair that has a label file.
        files: where the files of the data set are.
        number_of_classes: as `read_labels` takes it.
        pixel_limit: most pixels of a picture; larger ones are not decoded. To be called under `own_pixel_limit`.

    Returns:
        Width and height of the pictures in pixels after EXIF orientation (0, 0 where there is none), the labels, and
        all faults of the three files. The first two are of use only where there are no faults.
    """
    label = files.labels[id_][0]
    labels, faults = read_labels(label, number_of_classes)
    if not is_plain(id_):
        advice = "tables, reports and terminals show it; rename it and its pictures"
        faults.append(Fault("file name that cannot be shown", str(label), None, shown(id_), advice))
    faults += _more_than_one("label files", files.labels[id_])
    chosen = []
    for side, pictures in (("before", files.before.get(id_, [])), ("after", files.after.get(id_, []))):
        faults += _more_than_one("pictures", pictures)
        if not pictures:
            faults.append(files.missing_picture(side, id_))
        else:
            chosen.append(pictures[0])
    size, picture_faults = check_pictures(chosen, pixel_limit)
    return size, labels, faults + picture_faults


def check_pictures(pictures: Sequence[Path], pixel_limit: int = PIXEL_LIMIT) -> tuple[tuple[int, int], list[Fault]]:
    """Checks that the pictures of one pair, those of them that there are, can be read and are of one size.

    Args:
        pictures: before and after.
        pixel_limit: as `check_files` takes it, and to be called as that.

    Returns:
        Width and height in pixels after EXIF orientation (0, 0 where there is none), and the faults.
    """
    found = [_picture_size(picture, pixel_limit) for picture in pictures]
    faults = [size for size in found if isinstance(size, Fault)]
    sizes = [size for size in found if not isinstance(size, Fault)]
    if len(set(sizes)) == 2:
        met = " and ".join(f"{width}x{height}" for width, height in sizes)
        faults.append(Fault("sizes differ", str(pictures[1]), None, met, "take before and after at one size"))
    return sizes[0] if sizes else (0, 0), faults


@contextlib.contextmanager
def own_pixel_limit() -> Iterator[None]:
    """Turns Pillow's limit off: it warns or raises on opening a large picture, before its size can be named."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _more_than_one(what: str, paths: list[Path]) -> list[Fault]:
    met = ", ".join(path.name for path in paths)
    return [Fault(f"two {what} for one id", str(paths[1]), None, met, "keep one of them")] if len(paths) > 1 else []


def _picture_size(path: Path, pixel_limit: int) -> tuple[int, int] | Fault:
    """Width and height after EXIF orientation of a picture that decodes as a whole; else its fault."""
    try:
        width, height = stored_size(path)
        if width * height > pixel_limit:
            advice = f"at most {pixel_limit} pixels are read; make it smaller"
            return Fault("picture over the pixel limit", str(path), None, f"{width}x{height} pixels", advice)
        return open_picture(path).size
    except PictureError as error:
        if cause := cause_at(path):
            return cause.fault("image", str(path))
        advice = "save it again as 8-bit PNG or JPEG, or remove the pair"
        return Fault("unreadable or truncated picture", str(path), None, str(error.__cause__), advice)
