"""Pairs without labels, to predict on: two images, two folders, or the rows of a CSV file."""

import csv
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from trainable.data.absence import FOLDER, NOT_THERE, Neighbours, cause_at, closed_folder
from trainable.data.faults import DataError, Fault
from trainable.data.files import ADVICE_ON_IMAGES
from trainable.data.integrity import check_images, own_pixel_limit
from trainable.data.listing import IMAGE_SUFFIXES, Listing
from trainable.data.model_input import ModelInput
from trainable.data.sight import Sight

COLUMNS = ("before", "after")


@dataclass(frozen=True)
class ImagePair:
    """A before and an after image that can be read and are of one size."""

    id: str
    """Names what is written of the pair: a relative path without suffix, with forward slashes."""
    before: Path
    after: Path
    sight: Sight
    """What the model sees of it."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, after EXIF orientation."""
        return self.sight.size


@dataclass(frozen=True)
class _Found:
    """A pair before its images are looked at."""

    id: str
    before: Path
    after: Path


def pairs_of_paths(before: Path, after: Path, model: ModelInput | None = None) -> tuple[list[ImagePair], list[Fault]]:
    """The pair of two images, or all pairs of two folders: images of the same path in them, whatever their suffix.

    The id of two images is the after image's name without suffix.

    Args:
        before: an image or a folder.
        after: as `before`.
        model: what they are given to, if that is known; a pair that it cannot be given is faulty.

    Returns:
        The pairs that can be used, and all that is wrong with the others.

    Raises:
        DataError: the paths are not two images or two folders, or there is no image at all.
    """
    if faults := [fault for path in (before, after) if (fault := _path_fault(path))]:
        raise DataError(faults)
    if before.is_dir() != after.is_dir():
        kinds = " and ".join("a folder" if path.is_dir() else "a file" for path in (before, after))
        raise DataError([Fault("not of a kind", str(after), None, kinds, "give two images or two folders")])
    if not before.is_dir():
        return _checked([_Found(after.stem, before, after)], model)
    found, faults = _matched(before, after)
    pairs, image_faults = _checked(found, model)
    return pairs, faults + image_faults


def pairs_of_csv(file: Path, model: ModelInput | None = None) -> tuple[list[ImagePair], list[Fault]]:
    """The pairs that a CSV file lists in its columns `before` and `after`, as paths relative to the file.

    The id is the after image's name without suffix; where two have the same name, every id starts with its line.

    Args:
        file: the CSV file.
        model: as `pairs_of_paths` takes it.

    Returns:
        The pairs that can be used, and all that is wrong with the others.

    Raises:
        DataError: the file cannot be read, lacks a column, or has no rows.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            columns, rows = reader.fieldnames or (), [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        advice = "give a CSV file with the columns before,after"
        raise DataError([Fault("unreadable list", str(file), None, str(error), advice)]) from None
    if not set(COLUMNS) <= set(columns):
        advice = "its first line must name the columns before,after"
        raise DataError([Fault("missing column", str(file), 1, ",".join(columns), advice)])
    if not rows:
        raise DataError([Fault("no pairs at all", str(file), None, "no rows", "list a pair a line")])
    faults = [
        Fault("empty cell", str(file), line, column, "give the path of an image")
        for line, row in rows
        for column in COLUMNS
        if not _cell(row, column)
    ]
    found = [
        (line, _Found("", *(file.parent / _cell(row, column) for column in COLUMNS)))
        for line, row in rows
        if all(_cell(row, column) for column in COLUMNS)
    ]
    pairs, image_faults = _checked(_named(found), model)
    return pairs, faults + image_faults


def _cell(row: dict[str, str], column: str) -> str:
    return (row[column] or "").strip()


def _named(found: list[tuple[int, _Found]]) -> list[_Found]:
    """The pairs with their ids, from the lines that they are on."""
    # In small letters: some file systems do not tell A.txt from a.txt.
    is_unique = len({pair.after.stem.lower() for _, pair in found}) == len(found)
    return [replace(pair, id=pair.after.stem if is_unique else f"{line:04d}_{pair.after.stem}") for line, pair in found]


def _path_fault(path: Path) -> Fault | None:
    """Why nothing can be read of a path that the user gave."""
    cause = cause_at(path)
    if cause is None or cause.kind == FOLDER:
        return None
    if cause.kind == NOT_THERE:
        return Fault("no such file or folder", str(path), None, "", "give two of a kind")
    return cause.fault("image", str(path))


def _matched(before: Path, after: Path) -> tuple[list[_Found], list[Fault]]:
    listings = {"before": Listing.of(before), "after": Listing.of(after)}
    sides = {side: listing.files_by_id(IMAGE_SUFFIXES) for side, listing in listings.items()}
    ids = sorted(sides["before"].keys() | sides["after"].keys())
    closed = [closed_folder(*folder) for listing in listings.values() for folder in listing.closed]
    if not ids:
        advice = f"put images there: {', '.join(IMAGE_SUFFIXES)}"
        raise DataError([*closed, Fault("no pairs at all", str(before), None, "no image in either folder", advice)])
    whole = sides["before"].keys() & sides["after"].keys()
    neighbours = {side: Neighbours(listings[side], IMAGE_SUFFIXES, ADVICE_ON_IMAGES, whole) for side in COLUMNS}
    found, faults = [], closed
    for id_ in ids:
        images = {side: files.get(id_, []) for side, files in sides.items()}
        broken = [fault for side in COLUMNS for fault in _side_faults(id_, side, images, neighbours[side])]
        faults += broken
        if not broken:
            found.append(_Found(id_, images["before"][0], images["after"][0]))
    return found, faults


def _side_faults(id_: str, side: str, images: dict[str, list[Path]], neighbours: Neighbours) -> Iterable[Fault]:
    here = images[side]
    if not here:
        other = str(next(path for paths in images.values() for path in paths))
        if cause := neighbours.cause(id_):
            yield cause.fault(f"{side} image", other)
        else:
            yield Fault(f"missing {side}", other, None, f"no {side} image for {id_}", f"add the {side} image")
    elif len(here) > 1:
        met = ", ".join(path.name for path in here)
        yield Fault("two images for one id", str(here[1]), None, met, "keep one of them")


def _checked(found: list[_Found], model: ModelInput | None) -> tuple[list[ImagePair], list[Fault]]:
    with own_pixel_limit(), ThreadPoolExecutor() as pool:
        checks = list(pool.map(lambda pair: check_images((pair.before, pair.after), model=model), found))
    pairs = [
        ImagePair(pair.id, pair.before, pair.after, sight)
        for pair, (sight, _) in zip(found, checks, strict=True)
        if sight
    ]
    return pairs, [fault for _, faults in checks for fault in faults]
