"""Tracks to pairs: a video or a folder of frames with MOT-challenge tracks, `frame,id,x,y,w,h,...` a line, in pixels.

Two frames some seconds apart are a pair. A track that moved meanwhile is labelled where it was and where it is; one
that came or left, where it was seen; one that stayed, not at all.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from trainable.data.faults import DataError, Fault
from trainable.data.formats.frames import FolderFrames, Frames, VideoFrames
from trainable.data.formats.labelled import Labelled, LabelledPair, PixelBox, Place
from trainable.data.formats.numbers import numbers
from trainable.data.lists import lines_of

TRACKS = ("gt/gt.txt", "gt.txt", "det/det.txt", "tracks.txt")
"""Where the tracks may lie."""
CLASSES = (
    *("pedestrian", "person on vehicle", "car", "bicycle", "motorbike", "non motorized vehicle", "static person"),
    *("distractor", "occluder", "occluder on the ground", "occluder full", "reflection"),
)
"""The classes of MOT's ground truth, from 1."""
ANY_CLASS = "object"
"""Of tracks that name none."""


@dataclass(frozen=True)
class Sampling:
    """Which frames make pairs, and what has moved in them."""

    pairs: int = 100
    """So many at most, spread evenly over the frames."""
    gap: float = 4.0
    """Seconds between the frames of a pair."""
    min_move: float = 0.5
    """Share of its own size by which a thing has moved at least."""
    fps: float | None = None
    """Frames a second; None is what `seqinfo.ini` or the video says."""


Tracks = dict[int, dict[str, PixelBox]]
"""The boxes of each frame, by the ids of their tracks."""


def read_mot(source: Path, how: Sampling, scratch: Path) -> Labelled:
    """Makes pairs of the frames of a sequence.

    Args:
        source: a folder with the frames, named by their number, in `img1` or in itself; or a video.
        how: pairs are chosen.
        scratch: folder for frames of a video.

    Raises:
        DataError: tracks, frames or the frames a second are missing, or a frame cannot be read.
    """
    file = tracks_of(source)
    if file is None:
        places = _places(source)
        advice = f"put the tracks at one of {', '.join(str(place) for place in places)}"
        raise DataError([Fault("no tracks", str(source), None, "", advice)])
    frames: Frames = FolderFrames(source) if source.is_dir() else VideoFrames(source, scratch)
    gap = max(1, round(how.gap * (how.fps or frames.per_second())))
    found = Labelled(may_leave=True)
    tracks = _tracks(file, found.faults)
    there = set(frames.numbers)
    starts = [number for number in frames.numbers if number + gap in there]
    if not starts:
        met = f"{len(there)} frames, {gap} apart"
        raise DataError(
            [Fault("no two frames so far apart", str(frames.location), None, met, "ask for a smaller --gap")]
        )
    chosen = sorted({starts[index * len(starts) // how.pairs] for index in range(how.pairs)})
    images = frames.files({*chosen, *(start + gap for start in chosen)})
    for start in chosen:
        one, other = (tracks.get(number, {}) for number in (start, start + gap))
        stayed = {id_ for id_ in one.keys() & other.keys() if _distance(one[id_], other[id_]) <= how.min_move}
        sides = (tuple(boxes[id_] for id_ in sorted(boxes.keys() - stayed)) for boxes in (one, other))
        found.pairs.append(LabelledPair(f"{start:06d}", images[start], images[start + gap], *sides))
    return found


def tracks_of(source: Path) -> Path | None:
    """The file of the tracks of a folder or a video; None where there is none."""
    return next((place for place in _places(source) if place.is_file()), None)


def _places(source: Path) -> list[Path]:
    """Where the tracks may lie; those of a video also under its name, beside it."""
    if source.is_dir():
        return [source / name for name in TRACKS]
    return [source.with_suffix(".txt"), *(source.parent / name for name in TRACKS)]


def _tracks(file: Path, faults: list[Fault]) -> Tracks:
    tracks: Tracks = {}
    for line, text in lines_of(file, faults):
        if not text:
            continue
        place, fields = Place(str(file), line), [field.strip() for field in text.split(",")]
        values = numbers(fields, len(fields))
        if not values or len(values) < 6 or values[0] != int(values[0]):
            faults.append(place.fault("no track", text, "a line is: frame,id,x,y,w,h and perhaps more numbers"))
            continue
        if len(values) > 6 and values[6] == 0:  # Ground truth marks so what is not to be counted.
            continue
        tracks.setdefault(int(values[0]), {})[fields[1]] = PixelBox(_class(values), place, *values[2:6])
    return tracks


def _class(values: tuple[float, ...]) -> str:
    """The name of a line's class. In files of 10 columns, as detections have, the eighth is a place in space."""
    if len(values) not in (8, 9) or values[7] < 1:
        return ANY_CLASS
    number = int(values[7])
    return CLASSES[number - 1] if number <= len(CLASSES) else f"class {number}"


def _distance(one: PixelBox, other: PixelBox) -> float:
    """How far a thing has moved, as a share of its own size: the side of a square as large as its two boxes' mean."""
    across = other.left + other.width / 2 - one.left - one.width / 2
    down = other.top + other.height / 2 - one.top - one.height / 2
    size = math.sqrt(max(one.width * one.height + other.width * other.height, 1e-9) / 2)
    return math.hypot(across, down) / size
