"""Whether the files of one pair can be used: the labels are parsed, the images decoded and seen as a model would."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from trainable.data.absence import cause_at
from trainable.data.annotations import Labels, read_labels
from trainable.data.difference import ImageError, open_image, stored_size
from trainable.data.faults import Fault
from trainable.data.files import PairFiles
from trainable.data.model_input import ModelInput
from trainable.data.sight import Sight, see
from trainable.text.shown import is_plain, shown

PIXEL_LIMIT = 50_000_000
"""Most pixels of an image, unless something else is asked for: more would be decoded to 150 MB and over."""


NO_BOXES = Labels((), ())


def check_files(
    id_: str, files: PairFiles, number_of_classes: int | None, pixel_limit: int, model: ModelInput | None = None
) -> tuple[Sight | None, Labels, list[Fault]]:
    """Checks the label file and both images of one pair.

    Args:
        id_: of a pair that has a label file.
        files: where the files of the data set are.
        number_of_classes: as `read_labels` takes it.
        pixel_limit: most pixels of an image; larger ones are not decoded. To be called under `own_pixel_limit`.
        model: what is to learn from it, if that is known.

    Returns:
        What is seen of the pair (None where its images have faults), the labels, and all faults of the three files.
        The first two are of use only where there are no faults.
    """
    label = files.labels[id_][0]
    labels, faults = read_labels(label, number_of_classes)
    if not is_plain(id_):
        advice = "tables, reports and terminals show it; rename it and its images"
        faults.append(Fault("file name that cannot be shown", str(label), None, shown(id_), advice))
    faults += _more_than_one("label files", files.labels[id_])
    chosen = []
    for side, images in (("before", files.before.get(id_, [])), ("after", files.after.get(id_, []))):
        faults += _more_than_one("images", images)
        if not images:
            faults.append(files.missing_image(side, id_))
        else:
            chosen.append(images[0])
    sight, image_faults = check_images(chosen, labels, pixel_limit, model)
    return sight, labels, faults + image_faults


def check_images(
    images: Sequence[Path],
    labels: Labels = NO_BOXES,
    pixel_limit: int = PIXEL_LIMIT,
    model: ModelInput | None = None,
) -> tuple[Sight | None, list[Fault]]:
    """Checks that the images of one pair, those that there are, can be read, are of one size, and can be resized.

    Args:
        images: before and after.
        labels: of the pair.
        pixel_limit: as `check_files` takes it, and to be called as that.
        model: as `check_files` takes it.

    Returns:
        What is seen of the pair, None where an image is missing or has a fault; and the faults.
    """
    found = [_decoded(image, pixel_limit) for image in images]
    faults = [image for image in found if isinstance(image, Fault)]
    decoded = [image for image in found if not isinstance(image, Fault)]
    if len(decoded) < 2:
        return None, faults
    before, after = decoded
    if before.size != after.size:
        met = " and ".join(f"{width}x{height}" for width, height in (before.size, after.size))
        return None, [Fault("sizes differ", str(images[1]), None, met, "take before and after at one size")]
    sight = see(before, after, labels, model)
    if not all(sight.resized):
        (width, height), (new_width, new_height) = sight.size, sight.resized
        met = f"{width}x{height} pixels become {new_width}x{new_height} at the model's size"
        advice = "cut the pair into pieces that are less long, or remove it"
        return None, [Fault("image too thin for the model", str(images[1]), None, met, advice)]
    return sight, []


@contextlib.contextmanager
def own_pixel_limit() -> Iterator[None]:
    """Turns Pillow's limit off: it warns or raises on opening a large image, before its size can be named."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _more_than_one(what: str, paths: list[Path]) -> list[Fault]:
    met = ", ".join(path.name for path in paths)
    return [Fault(f"two {what} for one id", str(paths[1]), None, met, "keep one of them")] if len(paths) > 1 else []


def _decoded(path: Path, pixel_limit: int) -> Image.Image | Fault:
    """The image, upright, in RGB, where it decodes as a whole; else its fault."""
    try:
        width, height = stored_size(path)
        if width * height > pixel_limit:
            advice = f"at most {pixel_limit} pixels are read; make it smaller"
            return Fault("image over the pixel limit", str(path), None, f"{width}x{height} pixels", advice)
        return open_image(path)
    except ImageError as error:
        if cause := cause_at(path):
            return cause.fault("image", str(path))
        advice = "save it again as 8-bit PNG or JPEG, or remove the pair"
        return Fault("unreadable or truncated image", str(path), None, str(error.__cause__), advice)
