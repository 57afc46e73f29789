"""A pair: two images, and the boxes of what moved between them."""

from dataclasses import dataclass
from pathlib import Path

from trainable.data.annotations import Labels


@dataclass(frozen=True)
class Pair:
    """A before image, an after image and the boxes of what moved between them."""

    id: str
    """Path of the label file relative to the label folder, without suffix, with forward slashes."""
    before: Path
    """Absolute, as is `after`: the workers of a search have working directories of their own."""
    after: Path
    size: tuple[int, int]
    """Width and height of both images in pixels, after EXIF orientation."""
    labels: Labels
    images_digest: str
    """`images_digest` of both images when they were checked."""
    content_digest: str = ""
    """`Sight.digest` when they were checked: the same for pairs of which a model sees the same."""
