"""One make-believe surveillance scene, photographed twice.

What the sample data set (`data_set.py`) has in common with the stream that the embedded checkpoint was pre-trained on
(`benchmarks/shapes.py`): where things stand, their shadows, what the light and the sensor do. What the things *are*
differs, so that going from the checkpoint to the sample data set is a real transfer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

Box = tuple[int, int, int, int]
"""left, top, right, bottom in pixels; right and bottom are exclusive."""


@dataclass(frozen=True)
class Thing:
    """Something that stands in the scene: its class and its image.

    Attributes:
        class_id: index into the names of the data set.
        sprite: RGBA image, cropped to what is opaque.
    """

    class_id: int
    sprite: Image.Image


@dataclass
class Scene:
    """A scene that is being laid out: the places taken, and who stands where before and after."""

    size: tuple[int, int]
    taken: list[Box] = field(default_factory=list)
    before: list[tuple[Thing, Box]] = field(default_factory=list)
    after: list[tuple[Thing, Box]] = field(default_factory=list)
    moved: list[tuple[int, Box]] = field(default_factory=list)

    def free_place(self, rng: np.random.Generator, thing: Thing, margin: int = 2) -> Box | None:
        """A random place for `thing` that touches no other, or None after 30 tries."""
        width, height = thing.sprite.size
        for _ in range(30):
            if width >= self.size[0] or height >= self.size[1]:
                return None
            left = int(rng.integers(0, self.size[0] - width))
            top = int(rng.integers(0, self.size[1] - height))
            box = (left, top, left + width, top + height)
            if not any(_touch(box, other, margin) for other in self.taken):
                self.taken.append(box)
                return box
        return None

    def park(self, rng: np.random.Generator, thing: Thing) -> None:
        """Put down a thing that stands in both images at the same place, if there is room."""
        if place := self.free_place(rng, thing):
            self.before.append((thing, place))
            self.after.append((thing, place))

    def move(self, rng: np.random.Generator, thing: Thing, *, leaves: bool, enters: bool) -> None:
        """Put down a thing that stands in one place before (`leaves`) and in another after (`enters`).

        Both places are labelled: the absolute difference shows both and has lost the sign.
        """
        for shown, standing in ((leaves, self.before), (enters, self.after)):
            if shown and (place := self.free_place(rng, thing)):
                standing.append((thing, place))
                self.moved.append((thing.class_id, place))


def photograph(
    rng: np.random.Generator,
    background: Image.Image,
    things: Sequence[tuple[Thing, Box]],
    *,
    light: float,
    noise: float,
    shadow: float,
) -> Image.Image:
    """The scene as the camera sees it.

    Args:
        rng: source of the sensor noise.
        background: RGB image of the empty scene.
        things: what stands where; painted from the farthest (smallest bottom) to the nearest.
        light: factor on all pixels (1.0 = unchanged).
        noise: standard deviation of the sensor noise, in grey levels of 0-255.
        shadow: opacity of the shadows on the ground, 0-1.
    """
    image = background.copy()
    for thing, place in sorted(things, key=lambda item: item[1][3]):
        if shadow:
            _paint_shadow(image, place, shadow)
        image.paste(thing.sprite, place[:2], thing.sprite)
    pixels = np.asarray(image, dtype=np.float32) * light
    pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * noise
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Noise that varies over `1 / cells` of the image; float32 array of shape [height, width] in 0-1."""
    grid = rng.integers(0, 256, (max(2, cells * size[1] // size[0]), cells), dtype=np.uint8)
    return np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC), dtype=np.float32) / 255


def draw_sprite(size: tuple[int, int], paint: Callable[[Image.Image], None], scale: int = 4) -> Image.Image:
    """An anti-aliased RGBA sprite of about `size` pixels: `paint` draws it `scale` times larger."""
    large = Image.new("RGBA", (size[0] * scale, size[1] * scale), (0, 0, 0, 0))
    paint(large)
    small = large.resize(size, Image.Resampling.BOX)
    opaque = small.getchannel("A").point(lambda alpha: 255 if alpha >= 128 else 0)
    return small.crop(opaque.getbbox() or (0, 0, *size))


def _touch(a: Box, b: Box, margin: int) -> bool:
    return (
        a[0] < b[2] + margin and b[0] < a[2] + margin and a[1] < b[3] + margin and b[1] < a[3] + margin
    )  # fmt: skip


def _paint_shadow(image: Image.Image, place: Box, opacity: float) -> None:
    """A flat dark ellipse under the thing; it leans out of the box to the right, as a low sun casts it."""
    width, height = place[2] - place[0], place[3] - place[1]
    shape = (max(2, int(width * 1.15)), max(2, int(height * 0.18)))
    ellipse = Image.radial_gradient("L").resize(shape).point(lambda d: int(255 * opacity) if d < 180 else 0)
    black = Image.new("RGB", shape)
    image.paste(black, (place[0] + width // 20, place[3] - int(shape[1] * 0.7)), ellipse)
