"""A model as prediction takes it, whatever runs it."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from trainable.data.model_input import Size
from trainable.detection import Detections


class DetectorError(ValueError):
    """A model cannot be run, or not be written for what is to run it; the message says which and why."""


@dataclass(frozen=True)
class Detector:
    """A model, loaded, and what its files say of it."""

    names: tuple[str, ...]
    """Class names, by class id."""
    score_threshold: float | None
    """What its config recommends, if anything."""
    alignment: str
    """By what it registers pairs, one of `trainable.alignment.ALIGNMENTS`."""
    detect: Callable[[Image.Image, Image.Image], Detections]
    """What it finds in the before and the after image of a pair, both RGB and of one size: one entry a query."""
    misfit: Callable[[Size], str | None] = lambda size: None
    """Why it cannot take images of a size, in pixels; None where it can."""
