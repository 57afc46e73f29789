"""Matched boxes: a text file a pair, two lines an object: where it was, and where it is.

Each line is `id x y w h class`, in pixels from the left upper corner; the first line of an id is of the before image.
This is how the technical report's pairs of VIRAT frames are labelled.
"""

from pathlib import Path

from trainable.data.faults import Fault
from trainable.data.formats.labelled import Labelled, LabelledPair, PixelBox, Place
from trainable.data.formats.numbers import numbers
from trainable.data.formats.pairing import STEM, Images, Rule, without_suffix
from trainable.data.listing import LABEL_SUFFIXES, files_by_id
from trainable.data.lists import lines_of

FIELDS = "id x y w h class"


def read_matched(labels: Path, folder: Path, rule: Rule) -> Labelled:
    """Reads all text files below a folder.

    Args:
        labels: the folder of the text files.
        folder: of the frames.
        rule: how the frames of a text file are called, with its own name, without suffix, for `STEM`.
    """
    found = Labelled()
    images = Images(folder, found.faults)
    for id_, (file, *_) in sorted(files_by_id(labels, LABEL_SUFFIXES).items()):
        names = [without_suffix(template).replace(STEM, id_) for template in (rule.before, rule.after)]
        if missing := [name for name in names if name not in images.files]:
            advice = "say how the frames are called with --before and --after, and where they lie with --images"
            found.faults.append(Fault("no such frame", str(file), None, ", ".join(missing), advice))
            continue
        was, is_now = _boxes(file, found.faults)
        before, after = map(images.path, names)
        found.pairs.append(LabelledPair(id_, before, after, tuple(was), tuple(is_now)))
    return found


def _boxes(file: Path, faults: list[Fault]) -> tuple[list[PixelBox], list[PixelBox]]:
    """Those of the before and of the after image."""
    by_object: dict[str, list[PixelBox]] = {}
    for line, text in lines_of(file, faults):
        place, fields = Place(str(file), line), text.split()
        sides = numbers(fields[1:5], 4)
        if len(fields) != len(FIELDS.split()) or not sides:
            if text:
                faults.append(place.fault("no box", text, f"a line is: {FIELDS}"))
            continue
        by_object.setdefault(fields[0], []).append(PixelBox(fields[5], place, *sides))
    for name, boxes in by_object.items():
        if len(boxes) != 2:
            advice = "an object has two lines: where it was, and where it is"
            faults.append(boxes[0].place.fault(f"{len(boxes)} line(s) of an object", name, advice))
    whole = [boxes for boxes in by_object.values() if len(boxes) == 2]
    return [was for was, _ in whole], [is_ for _, is_ in whole]
