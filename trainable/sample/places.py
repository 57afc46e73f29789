"""Where things move in the sample data set: what eight surveillance cameras see when nobody is there.

Each looks down on open ground; only a strip at the top, lower than the smallest thing, is a wall, a hedge or water, so
that whatever stands anywhere has its feet on the ground. Tones stay between 60 and 190, away from those of `things`.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from trainable.sample.pen import Colour, Pen
from trainable.sample.scene import smooth_noise

IMAGE_SIZE = (256, 192)
"""width, height in pixels."""
_WIDTH, _HEIGHT = IMAGE_SIZE
_STRIP = 30
"""Height of what stands along the top, in pixels."""
_FINE = 4
"""How much larger marks are drawn before they are reduced, so that their edges are smooth."""


def empty_place(camera: str, rng: np.random.Generator) -> Image.Image:
    """RGB image of 256 x 192 pixels of what `camera` (one of `CAMERAS`) sees when nothing is there."""
    return _PAINTERS[camera](rng)


def _car_park(rng: np.random.Generator) -> Image.Image:
    """Two rows of painted bays under a hedge."""
    image = _texture(rng, (106, 108, 112), clouds=16, grain=5)
    _lay_strip(image, _texture(rng, (72, 92, 62), clouds=30, grain=14), 0, _STRIP)

    def mark(pen: Pen) -> None:
        white = (196, 196, 190, 190)
        for x in range(-24, 300, 46):
            pen.stroke([(x + 10, 34), (x, 88)], 2, white)
            pen.stroke([(x - 8, 134), (x - 20, 192)], 2.5, white)
        pen.stroke([(0, 34), (_WIDTH, 34)], 2, white)

    return _marked(image, mark)


def _street(rng: np.random.Generator) -> Image.Image:
    """A road between two pavements of slabs, seen from across it."""
    image = _texture(rng, (100, 101, 105), clouds=14, grain=5)
    for top, bottom in ((0, 62), (158, _HEIGHT)):
        _lay_strip(image, _texture(rng, (148, 144, 136), clouds=12, grain=6), top, bottom)
    _lay_strip(image, _texture(rng, (128, 96, 84), clouds=10, grain=8), 0, _STRIP - 8)

    def mark(pen: Pen) -> None:
        for x in range(-10, 280, 26):
            for top, bottom in ((22, 62), (158, 192)):
                pen.stroke([(x, bottom), (x + 6, top)], 1, (112, 108, 102, 200))
        for y in (42, 175):
            pen.stroke([(0, y), (_WIDTH, y)], 1, (112, 108, 102, 200))
        for y in (62, 158):
            pen.stroke([(0, y), (_WIDTH, y)], 3, (172, 170, 164, 220))
        for x in range(6, _WIDTH, 48):
            pen.stroke([(x, 110), (x + 24, 110)], 3, (188, 188, 180, 190))

    return _marked(image, mark)


def _yard(rng: np.random.Generator) -> Image.Image:
    """Gravel before a brick wall."""
    image = _texture(rng, (146, 136, 118), clouds=14, grain=15)
    _lay_strip(image, _texture(rng, (142, 84, 68), clouds=14, grain=6), 0, _STRIP + 4)

    def mark(pen: Pen) -> None:
        mortar = (164, 150, 138, 170)
        for row, y in enumerate(range(0, _STRIP + 4, 7)):
            pen.stroke([(0, y), (_WIDTH, y)], 1.2, mortar)
            for x in range(7 * (row % 2), _WIDTH, 14):
                pen.stroke([(x, y), (x, min(y + 7, _STRIP + 3))], 1.2, mortar)
        pen.stroke([(0, _STRIP + 5), (_WIDTH, _STRIP + 5)], 3, (82, 74, 66, 150))
        for offset in (0, 46):
            pen.stroke([(40 + offset, 192), (70 + offset, 120), (140 + offset, 36)], 7, (124, 114, 98, 90))

    return _marked(image, mark)


def _lawn(rng: np.random.Generator) -> Image.Image:
    """Mown grass with a gravel drive across it."""
    image = _texture(rng, (98, 124, 76), clouds=18, grain=10)
    _lay_strip(image, _texture(rng, (70, 88, 60), clouds=30, grain=14), 0, _STRIP - 6)

    def mark(pen: Pen) -> None:
        for x in range(-40, 320, 64):
            pen.area([(x, 192), (x + 32, 192), (x + 48, 24), (x + 24, 24)], (112, 138, 88, 110))
        pen.area(
            [(0, 128), (90, 104), (170, 108), (256, 84), (256, 122), (172, 148), (92, 146), (0, 174)],
            (158, 146, 120, 225),
        )

    return _marked(image, mark)


def _square(rng: np.random.Generator) -> Image.Image:
    """A paved square with bands of darker stone."""
    image = _texture(rng, (150, 142, 132), clouds=10, grain=5)

    def mark(pen: Pen) -> None:
        rows = [0, 10, 21, 33, 46, 60, 75, 91, 108, 126, 145, 165, 186]
        for row, (top, bottom) in enumerate(zip(rows, [*rows[1:], _HEIGHT + 14], strict=True)):
            wide = 14 + row * 1.6
            for column in range(-1, 20):
                x = (column + (row % 2) / 2) * wide
                tone = int(rng.integers(-14, 15))
                pen.area(
                    [(x, top), (x + wide, top), (x + wide, bottom), (x, bottom)],
                    (150 + tone, 142 + tone, 132 + tone, 120),
                )
                pen.stroke([(x, top), (x, bottom)], 1, (108, 102, 96, 180))
            pen.stroke([(0, top), (_WIDTH, top)], 1, (108, 102, 96, 180))
        for x in (60, 190):
            pen.area(
                [(x, 0), (x + 10, 0), (x + (x - 125) * 0.3 + 14, 192), (x + (x - 125) * 0.3, 192)], (112, 98, 92, 150)
            )

    return _marked(image, mark)


def _depot(rng: np.random.Generator) -> Image.Image:
    """Concrete slabs before roller doors, a hatched strip kept free."""
    image = _texture(rng, (140, 140, 136), clouds=18, grain=5)
    _lay_strip(image, _texture(rng, (96, 112, 126), clouds=6, grain=3), 0, _STRIP)

    def mark(pen: Pen) -> None:
        for y in range(0, _STRIP, 4):
            pen.stroke([(0, y), (_WIDTH, y)], 1, (74, 88, 102, 200))
        for x in (0, 84, 170, 254):
            pen.area([(x - 4, 0), (x + 4, 0), (x + 4, _STRIP), (x - 4, _STRIP)], (150, 148, 142, 255))
        for x in range(-60, 330, 62):
            pen.stroke([(x, 192), (128 + (x - 128) * 0.8, _STRIP)], 1.5, (100, 100, 98, 200))
        for y in (66, 124):
            pen.stroke([(0, y), (_WIDTH, y)], 1.5, (100, 100, 98, 200))
        for x in range(-12, 270, 16):
            pen.stroke([(x, 44), (x + 10, 35)], 3, (190, 166, 70, 190))

    return _marked(image, mark)


def _crossing(rng: np.random.Generator) -> Image.Image:
    """A zebra crossing over a road that runs away from the camera."""
    image = _texture(rng, (104, 104, 108), clouds=16, grain=6)
    _lay_strip(image, _texture(rng, (120, 116, 112), clouds=14, grain=8), 0, _STRIP - 10)
    pavement = _texture(rng, (150, 140, 128), clouds=12, grain=6)
    kerbs = ((56, 20), (20, 192)), ((204, 20), (240, 192))
    for edge, (far, near) in zip((0, _WIDTH), kerbs, strict=True):
        _lay_area(image, pavement, [(edge, 20), far, near, (edge, 192)])

    def mark(pen: Pen) -> None:
        for x in range(30, 240, 30):
            middle = 128 + (x - 128) * 0.86
            pen.area([(x, 134), (x + 15, 134), (middle + 14, 88), (middle, 88)], (178, 178, 172, 200))
        for y in range(24, 80, 24):
            pen.stroke([(128, y), (128, y + 10)], 2, (180, 180, 172, 190))
        for kerb in kerbs:
            pen.stroke(kerb, 4, (170, 168, 160, 230))

    return _marked(image, mark)


def _quay(rng: np.random.Generator) -> Image.Image:
    """Planks of a quay with water behind them."""
    image = _texture(rng, (146, 124, 98), clouds=12, grain=7)
    _lay_strip(image, _texture(rng, (82, 110, 126), clouds=26, grain=5), 0, _STRIP)

    def mark(pen: Pen) -> None:
        for x in range(-96, 352, 16):
            tone, far = int(rng.integers(-16, 17)), 128 + (x - 128) * 0.7
            pen.area(
                [(x, 192), (x + 16, 192), (far + 11, _STRIP), (far, _STRIP)], (146 + tone, 124 + tone, 98 + tone, 140)
            )
            pen.stroke([(x, 192), (far, _STRIP)], 1.2, (96, 80, 64, 200))
        pen.stroke([(0, _STRIP), (_WIDTH, _STRIP)], 5, (122, 104, 86, 255))
        for x in (24, 104, 184):
            pen.stroke([(x, _STRIP - 8), (x, _STRIP)], 7, (80, 70, 62, 255))

    return _marked(image, mark)


_PAINTERS: dict[str, Callable[[np.random.Generator], Image.Image]] = {
    "carpark": _car_park,
    "street": _street,
    "yard": _yard,
    "lawn": _lawn,
    "square": _square,
    "depot": _depot,
    "crossing": _crossing,
    "quay": _quay,
}
CAMERAS = tuple(_PAINTERS)


def _texture(rng: np.random.Generator, colour: Colour, clouds: float, grain: float) -> Image.Image:
    """A whole image of one material: `clouds` and `grain` are its slow and fast variation in grey levels."""
    grey = (smooth_noise(rng, IMAGE_SIZE, 5) - 0.5) * clouds + (smooth_noise(rng, IMAGE_SIZE, 24) - 0.5) * clouds
    grey += rng.standard_normal(grey.shape, dtype=np.float32) * np.float32(grain)
    pixels = np.array(colour, dtype=np.float32) + grey[:, :, None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _lay_strip(image: Image.Image, material: Image.Image, top: int, bottom: int) -> None:
    image.paste(material.crop((0, top, _WIDTH, bottom)), (0, top))


def _lay_area(image: Image.Image, material: Image.Image, points: list[tuple[float, float]]) -> None:
    mask = Image.new("L", (_WIDTH * _FINE, _HEIGHT * _FINE))
    Pen(mask, _FINE, _FINE).area(points, (255,))
    image.paste(material, (0, 0), mask.reduce(_FINE))


def _marked(image: Image.Image, mark: Callable[[Pen], None]) -> Image.Image:
    """The image with the marks that `mark` draws in its pixels; half-opaque ones let the ground show through."""
    marks = Image.new("RGBA", (_WIDTH * _FINE, _HEIGHT * _FINE))
    mark(Pen(marks, _FINE, _FINE))
    return Image.alpha_composite(image.convert("RGBA"), marks.reduce(_FINE)).convert("RGB")
