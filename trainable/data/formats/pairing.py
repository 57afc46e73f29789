"""Which of a folder's images are a pair: by how they are called, or by a CSV file that lists them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from trainable.data.faults import Fault
from trainable.data.formats.labelled import Labelled, LabelledPair, PixelBox, Place
from trainable.data.formats.table import read_table
from trainable.data.listing import IMAGE_SUFFIXES, Listing
from trainable.data.lists import id_of_entry

STEM = "{stem}"
BEFORE, AFTER = f"{STEM}_before", f"{STEM}_after"


@dataclass(frozen=True)
class Rule:
    """What makes two images a pair."""

    before: str = BEFORE
    """How the before image is called, with `STEM` for what it has in common with the after image; without suffix."""
    after: str = AFTER
    pair_list: Path | None = None
    """A CSV file with the columns before and after, and perhaps id, that says it instead."""


class Images:
    """The images of a folder by their ids: their paths below it, without suffix."""

    def __init__(self, folder: Path, faults: list[Fault]):
        if not folder.is_dir():
            advice = "name the folder of the images with --images"
            faults.append(Fault("no such folder", str(folder), None, "", advice))
        self.files = Listing.of(folder).files_by_id(IMAGE_SUFFIXES)

    def id(self, name: str) -> str | None:
        """The id of an image as another tool names it, perhaps by a path of another machine."""
        return id_of_entry(name, self.files)

    def path(self, id_: str) -> Path:
        """The file; of several of one id the first."""
        return self.files[id_][0]


def paired(images: Images, rule: Rule, boxes: Mapping[str, list[PixelBox]], found: Labelled) -> None:
    """Adds the pairs of a data set whose labels are of single images.

    Args:
        images: all there are.
        rule: which of them are a pair.
        boxes: of each image that is labelled, by its id; none where nothing moved.
        found: gets the pairs, and what is wrong.
    """
    pairs = _listed(rule.pair_list, images, found.faults) if rule.pair_list else _named(rule, images, found.faults)
    for id_, (before, after) in sorted(pairs.items()):
        if before in boxes or after in boxes:
            sides = (tuple(boxes.get(side, ())) for side in (before, after))
            found.pairs.append(LabelledPair(id_, images.path(before), images.path(after), *sides))
    used = {side for sides in pairs.values() for side in sides}
    said = rule.pair_list or f"{rule.before} and {rule.after}"
    for id_ in sorted(boxes.keys() - used):
        advice = f"say which images are a pair: now by {said}; --before, --after or --pair-list say it otherwise"
        found.faults.append(Fault("image in no pair", str(images.path(id_)), None, "", advice))


def template_fault(before: str, after: str) -> str:
    """What is wrong with two templates; empty where nothing is."""
    if any(template.count(STEM) != 1 for template in (before, after)):
        return f"--before and --after name images with {STEM} in them once, such as {BEFORE}.jpg"
    return "--before and --after name the same image" if before == after else ""


def _named(rule: Rule, images: Images, faults: list[Fault]) -> dict[str, tuple[str, str]]:
    """The ids of the before and the after image of every pair, by the pair's."""
    stems: list[dict[str, str]] = []
    for template in (rule.before, rule.after):
        first, last = without_suffix(template).split(STEM)
        named = (id_ for id_ in images.files if id_.startswith(first) and id_.endswith(last))
        stems.append({id_[len(first) : len(id_) - len(last)]: id_ for id_ in named if len(id_) > len(first + last)})
    before, after = stems
    if not before.keys() & after.keys():
        met, advice = f"{len(before)} before, {len(after)} after", "say how they are called with --before and --after"
        faults.append(Fault("no pairs at all", f"{rule.before}, {rule.after}", None, met, advice))
    return {stem: (before[stem], after[stem]) for stem in before.keys() & after.keys()}


def _listed(file: Path, images: Images, faults: list[Fault]) -> dict[str, tuple[str, str]]:
    pairs: dict[str, tuple[str, str]] = {}
    lines: dict[str, int] = {}
    columns = {name: (name,) for name in ("before", "after", "id")}
    for line, row in read_table(file, columns, ("id",), faults):
        place, sides = Place(str(file), line), [images.id(row[side]) for side in ("before", "after")]
        for side, id_ in zip(("before", "after"), sides, strict=True):
            if id_ is None:
                faults.append(place.fault("no such image", row[side], "give its path below the folder of the images"))
        if None in sides:
            continue
        before, after = map(str, sides)
        id_ = row["id"] or after
        if id_ in pairs:
            faults.append(place.fault("two pairs of one id", id_, f"line {lines[id_]} has it; add a column id"))
        pairs[id_], lines[id_] = (before, after), line
    return pairs


def without_suffix(name: str) -> str:
    """A name without its suffix, where that is an image's."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def unknown_images(names: Iterable[tuple[str, Place]], images: Images, faults: list[Fault]) -> dict[str, str]:
    """The id of each image by its name; those that are not there are faults."""
    ids = {}
    for name, place in names:
        if id_ := images.id(name):
            ids[name] = id_
        else:
            faults.append(place.fault("no such image", name, "put it there, or name the folder with --images"))
    return ids
