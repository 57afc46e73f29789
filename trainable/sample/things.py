"""What moves in the sample data set: people, cars and bikes, drawn from the side with random colours."""

import numpy as np
from PIL import Image, ImageOps

from trainable.sample.pen import Colour, Pen
from trainable.sample.scene import Thing, draw_sprite

CLASS_NAMES = ("person", "car", "bike")

# Every paint has a channel below 55 or above 200, and the grounds of `places` lie between: what moves can be seen.
_PAINTS = (
    (238, 238, 232),
    (26, 27, 32),
    (204, 30, 34),
    (28, 58, 176),
    (240, 200, 40),
    (20, 104, 52),
    (240, 122, 28),
    (18, 150, 170),
)
_SKINS = ((236, 190, 160), (160, 108, 74), (88, 56, 42))
_RUBBER = (24, 24, 26)
_GLASS = (52, 66, 82)
_STEEL = (204, 206, 210)

_NOSE = ((0.84, 0.44), (0.96, 0.52), (0.99, 0.62), (0.99, 0.82))
_SALOON = ((0.01, 0.82), (0.01, 0.5), (0.15, 0.43), (0.29, 0.07), (0.64, 0.07), *_NOSE)
_SALOON_WINDOWS = (
    ((0.21, 0.43), (0.32, 0.15), (0.45, 0.15), (0.45, 0.43)),
    ((0.49, 0.43), (0.49, 0.15), (0.62, 0.15), (0.76, 0.43)),
)
_VAN = ((0.01, 0.82), (0.01, 0.1), (0.04, 0.03), (0.68, 0.03), *_NOSE)
_VAN_WINDOWS = (
    ((0.07, 0.14), (0.25, 0.14), (0.25, 0.4), (0.07, 0.4)),
    ((0.3, 0.14), (0.48, 0.14), (0.48, 0.4), (0.3, 0.4)),
    ((0.53, 0.14), (0.66, 0.14), (0.77, 0.42), (0.53, 0.42)),
)


def random_thing(rng: np.random.Generator) -> Thing:
    """A person, car or bike of random size, colour and direction, for images of 256 x 192 pixels."""
    class_id = int(rng.integers(len(CLASS_NAMES)))
    sprite = (_person, _car, _bike)[class_id](rng)
    return Thing(class_id, ImageOps.mirror(sprite) if rng.integers(2) else sprite)


def _person(rng: np.random.Generator) -> Image.Image:
    """62-88 pixels tall and nearly half as wide; stands, or walks to the right."""
    height, walks = int(rng.integers(62, 89)), bool(rng.integers(2))
    jacket, trousers, hair = _paint(rng), _paint(rng), (50, 34, 24)
    skin = _SKINS[int(rng.integers(len(_SKINS)))]
    middle, stride, reach = 0.25, *((0.16, 0.21) if walks else (0.07, 0.19))

    def draw(image: Image.Image) -> None:
        pen = Pen(image, image.height, image.height)
        for side in (-1, 1):
            foot = middle + side * stride
            knee = middle + side * stride * 0.6 + (0.03 if walks else 0)
            pen.stroke([(middle + 0.05 * side, 0.52), (knee, 0.74), (foot, 0.93)], 0.095, trousers)
            pen.stroke([(foot, 0.955), (foot + 0.05, 0.955)], 0.06, _RUBBER)
            hand = middle + side * reach
            pen.stroke([(middle + 0.12 * side, 0.25), (middle + 0.18 * side, 0.38), (hand, 0.5)], 0.08, jacket)
            pen.disc((hand, 0.52), 0.035, skin)
        pen.stroke([(middle - 0.09, 0.24), (middle + 0.09, 0.24)], 0.1, jacket)
        pen.area([(middle + x, y) for x, y in ((-0.14, 0.24), (0.14, 0.24), (0.11, 0.56), (-0.11, 0.56))], jacket)
        pen.stroke([(middle, 0.12), (middle, 0.2)], 0.07, skin)
        pen.disc((middle - 0.005, 0.088), 0.088, hair)
        pen.disc((middle + 0.015, 0.108), 0.07, skin)

    return draw_sprite((height // 2, height), draw)


def _car(rng: np.random.Generator) -> Image.Image:
    """72-108 pixels long and about half as tall; a saloon or a van that drives to the right."""
    length, van, paint = int(rng.integers(72, 109)), bool(rng.integers(3) == 0), _paint(rng)
    height = round(length * int(rng.integers(53, 58)) / 100)
    shade = _darker(paint)
    outline, windows = (_VAN, _VAN_WINDOWS) if van else (_SALOON, _SALOON_WINDOWS)

    def draw(image: Image.Image) -> None:
        pen = Pen(image, image.width, image.height)
        pen.area(outline, paint)
        for window in windows:
            pen.area(window, _GLASS)
        pen.area([(0.01, 0.72), (0.99, 0.72), (0.99, 0.82), (0.01, 0.82)], shade)
        pen.stroke([(0.47, 0.46), (0.47, 0.74)], 0.025, shade)
        pen.area([(0.93, 0.52), (0.97, 0.54), (0.985, 0.63), (0.93, 0.63)], (255, 244, 190))
        pen.area([(0.01, 0.5), (0.045, 0.5), (0.045, 0.64), (0.01, 0.64)], (170, 16, 24))
        for wheel in (0.21, 0.79):
            pen.disc((wheel, 0.81), 0.185, _RUBBER)
            pen.disc((wheel, 0.81), 0.095, _STEEL)

    return draw_sprite((length, height), draw)


def _bike(rng: np.random.Generator) -> Image.Image:
    """58-84 pixels long and two thirds as tall; faces right, nobody on it."""
    length, paint = int(rng.integers(58, 85)), _paint(rng)
    rear, pedals, front = (0.33, 0.67), (0.68, 0.69), (1.16, 0.67)
    seat, head = (0.54, 0.22), (1.0, 0.24)

    def draw(image: Image.Image) -> None:
        pen = Pen(image, image.height, image.height)
        for hub in (rear, front):
            for x, y in ((0.28, 0.0), (0.2, 0.2), (0.0, 0.28), (-0.2, 0.2)):
                pen.stroke([(hub[0] - x, hub[1] - y), (hub[0] + x, hub[1] + y)], 0.018, _STEEL)
            pen.ring(hub, 0.32, 0.095, _RUBBER)
        for tube in ((rear, pedals, head), (rear, (0.57, 0.34), head), (pedals, seat), (front, head, (0.97, 0.1))):
            pen.stroke(tube, 0.08, paint)
        pen.disc(pedals, 0.08, _RUBBER)
        pen.stroke([(0.42, 0.17), (0.65, 0.17)], 0.09, _RUBBER)
        pen.stroke([(0.94, 0.07), (1.14, 0.05), (1.18, 0.13)], 0.07, _RUBBER)

    return draw_sprite((length, round(length / 1.5)), draw)


def _paint(rng: np.random.Generator) -> Colour:
    """One of the paints, a little lighter or darker in each channel."""
    paint = np.array(_PAINTS[int(rng.integers(len(_PAINTS)))]) + rng.integers(-14, 15, 3)
    return tuple(int(channel) for channel in np.clip(paint, 0, 255))


def _darker(colour: Colour) -> Colour:
    return tuple(channel * 7 // 10 for channel in colour)
