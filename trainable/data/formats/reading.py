"""Which format labels are written in, and the reader of each."""

from enum import StrEnum
from pathlib import Path

from trainable.data.faults import DataError, Fault
from trainable.data.formats.boxes_csv import read_boxes
from trainable.data.formats.coco import read_coco
from trainable.data.formats.frames import VIDEO_SUFFIXES
from trainable.data.formats.labelled import Labelled
from trainable.data.formats.matched import read_matched
from trainable.data.formats.mot import Sampling, read_mot, tracks_of
from trainable.data.formats.pairing import Rule
from trainable.data.formats.voc import read_voc
from trainable.data.listing import files_by_id


class Format(StrEnum):
    """What is read."""

    COCO = "coco"
    VOC = "voc"
    CSV = "csv"
    MOT = "mot"
    MATCHED = "matched"


def format_of(source: Path) -> Format:
    """What a file or folder looks like.

    Raises:
        DataError: nothing that is read.
    """
    formats = ", ".join(Format)
    if not source.exists():
        raise DataError([Fault("no such file or folder", str(source), None, "", f"give what is one of {formats}")])
    if source.is_dir():
        if tracks_of(source):
            return Format.MOT
        if files_by_id(source, (".xml",)):
            return Format.VOC
    by_suffix = {".json": Format.COCO, ".csv": Format.CSV, **dict.fromkeys(VIDEO_SUFFIXES, Format.MOT)}
    if source.is_file() and (found := by_suffix.get(source.suffix.lower())):
        return found
    advice = f"name its format with --format: {formats}"
    raise DataError([Fault("no format that is known by its looks", str(source), None, "", advice)])


def read_format(
    source: Path, labels: Format, images: Path | None, rule: Rule, how: Sampling, scratch: Path
) -> Labelled:
    """The data set of a format.

    Raises:
        DataError: nothing of it can be read.
    """
    if labels is Format.MOT:
        return read_mot(source, how, scratch)
    here = source if source.is_dir() else source.parent
    folder = images or next((place for place in (here / "images", here / "JPEGImages") if place.is_dir()), here)
    readers = {
        Format.COCO: read_coco,
        Format.VOC: read_voc,
        Format.CSV: read_boxes,
        Format.MATCHED: read_matched,
    }
    return readers[labels](source, folder, rule)
