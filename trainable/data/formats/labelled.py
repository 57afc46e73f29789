"""What every format comes to: pairs of images with boxes in pixels."""

from dataclasses import dataclass, field
from pathlib import Path

from trainable.data.faults import Fault


@dataclass(frozen=True)
class Place:
    """Where something is written."""

    file: str
    line: int | None = None
    """From 1; None where `within` says it better."""
    within: str = ""
    """The place in the file, such as `annotations[3].bbox`."""

    def fault(self, kind: str, value: object, advice: str) -> Fault:
        """The fault of what is written there."""
        met = str(value)
        met = met if len(met) <= 80 else f"{met[:77]}..."
        return Fault(kind, self.file, self.line, f"{self.within}: {met}" if self.within else met, advice)


@dataclass(frozen=True)
class PixelBox:
    """A labelled box, in pixels of its image."""

    name: str
    """Of its class."""
    place: Place
    """Where it is written."""
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True)
class LabelledPair:
    """A pair of images and what moved in it."""

    id: str
    before: Path
    after: Path
    seen_before: tuple[PixelBox, ...]
    """In the frame of the before image."""
    seen_after: tuple[PixelBox, ...]
    """In that of the after image."""


@dataclass
class Labelled:
    """A data set, with all that is wrong with it."""

    names: list[str] = field(default_factory=list)
    """Of the classes, in the order of their ids; those that only boxes name are added in the order of their names."""
    pairs: list[LabelledPair] = field(default_factory=list)
    may_leave: bool = False
    """Whether boxes may be out of the image: those of tracks, which go on there."""
    faults: list[Fault] = field(default_factory=list)

    def all_names(self) -> list[str]:
        """The names of all classes, by class id."""
        boxes = [box for pair in self.pairs for box in (*pair.seen_before, *pair.seen_after)]
        return [*self.names, *sorted({box.name for box in boxes} - set(self.names))]
