"""Which files of a data set belong together: by their path below their folder, without suffix, which is their id."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

from trainable.data.absence import Neighbours, closed_folder
from trainable.data.class_names import NAMES_FILE
from trainable.data.faults import Fault
from trainable.data.layout import Layout
from trainable.data.listing import IMAGE_SUFFIXES, LABEL_SUFFIXES, Listing, is_file
from trainable.data.lists import possible_ids

_ADVICE_ON_LABELS = "export the labels as YOLO text (.txt)"
_MOST_SUFFIXES = 5
ADVICE_ON_IMAGES = f"save it with one of the suffixes {', '.join(IMAGE_SUFFIXES)}"
"""What to do with an image of another one."""


@dataclass(frozen=True)
class PairFiles:
    """Every label file and image of a data set by id. More than one of a kind for one id is a fault, told later."""

    labels: Mapping[str, list[Path]]
    before: Mapping[str, list[Path]]
    after: Mapping[str, list[Path]]
    listings: Mapping[str, Listing]
    """All that lies below `labels`, `before` and `after`."""

    @classmethod
    def found(cls, layout: Layout) -> "PairFiles":
        """Looks through the three folders.

        A `classes.txt` among the labels is no label file: LabelImg writes one into every folder. Only below the top of
        the labels, and where an image is called so, it is.
        """
        listings = {side: Listing.of(getattr(layout, side)) for side in ("labels", "before", "after")}
        labels = listings["labels"].files_by_id(LABEL_SUFFIXES)
        before, after = (listings[side].files_by_id(IMAGE_SUFFIXES) for side in ("before", "after"))
        names = PurePosixPath(NAMES_FILE).stem
        for id_ in [id_ for id_ in labels if PurePosixPath(id_).name.casefold() == names]:
            if id_ == names or not (id_ in before or id_ in after):
                del labels[id_]
        return cls(labels, before, after, listings)

    def missing_image(self, side: str, id_: str) -> Fault:
        """The fault of a pair that has a label file and, on one side, no image that counts.

        Args:
            side: `before` or `after`.
            id_: the pair.
        """
        label = str(self.labels[id_][0])
        if cause := self._neighbours[side].cause(id_):
            return cause.fault(f"{side} image", label)
        advice = f"add the {side} image, or remove the label file"
        return Fault(f"missing {side}", label, None, f"no {side} image for {id_}", advice)

    def missing_label(self, entry: str, file: str, line: int | None) -> Fault:
        """The fault of an entry of the user's lists that means no id with a label file that counts.

        Args:
            entry: as the list has it, see `id_of_entry`.
            file: the list.
            line: of it; None where there is none to name.
        """
        if cause := self._neighbours["labels"].cause(*possible_ids(entry)):
            return replace(cause, met=f"{entry}: {cause.met}").fault("label file", file, line)
        advice = "an id is the path of a file in labels, relative to it and without .txt; or give the path of its image"
        return Fault("id without a label file", file, line, entry, advice)

    def no_pairs(self) -> Fault:
        """The fault of a data set without any label file that counts."""
        labels = self.listings["labels"]
        suffixes = Counter(path.suffix.lower() for path in labels.entries if is_file(path))
        met = ", ".join(
            f"{count} {suffix or 'without suffix'}" for suffix, count in suffixes.most_common(_MOST_SUFFIXES)
        )
        if behind := [*labels.linked, *(folder for folder, _ in labels.closed)]:
            met += f"{', ' if met else ''}{behind[0].name}, which is not looked into"
        advice = "put a label file there for every pair, an empty one if nothing moved"
        if suffixes:
            advice += f"; {_ADVICE_ON_LABELS}"
        return Fault("no pairs at all", str(labels.folder), None, f"no .txt file{', but ' if met else ''}{met}", advice)

    def images_without_label(self) -> list[Fault]:
        """A fault for every id that has an image and no label file."""
        return [
            self._image_without_label(id_)
            for id_ in sorted((self.before.keys() | self.after.keys()) - self.labels.keys())
        ]

    def folders_left_out(self) -> list[Fault]:
        """A fault for every folder below the three that nobody looks into: links to folders, and those that may not be
        read."""
        linked = "put the folder itself there, or links to its files; before, after and labels themselves may be links"
        return [
            fault
            for listing in self.listings.values()
            for fault in (
                *(Fault("link to a folder", str(path), None, "", linked) for path in listing.linked),
                *(closed_folder(path, reason) for path, reason in listing.closed),
            )
        ]

    def _image_without_label(self, id_: str) -> Fault:
        image = str((self.before.get(id_) or self.after[id_])[0])
        if cause := self._neighbours["labels"].cause(id_):
            return cause.fault("label file", image)
        advice = "add its label file; an empty one if nothing moved"
        return Fault("image without a label file", image, None, id_, advice)

    @cached_property
    def _neighbours(self) -> Mapping[str, Neighbours]:
        whole = self.before.keys() & self.after.keys()
        return {
            "labels": Neighbours(self.listings["labels"], LABEL_SUFFIXES, _ADVICE_ON_LABELS, whole),
            "before": Neighbours(self.listings["before"], IMAGE_SUFFIXES, ADVICE_ON_IMAGES, self.labels.keys()),
            "after": Neighbours(self.listings["after"], IMAGE_SUFFIXES, ADVICE_ON_IMAGES, self.labels.keys()),
        }
