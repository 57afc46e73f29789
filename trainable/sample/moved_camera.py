"""What a camera that shakes, under light and weather that change, makes of a scene of the sample data set.

The motion of every pair is known, so that what finds it can be measured.
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainable.sample.places import IMAGE_SIZE
from trainable.sample.scene import smooth_noise

MOST_SHIFT, MOST_ROLL, MOST_ZOOM = 6.0, 1.0, 0.02
"""Of the before image against the after image: pixels in any direction, degrees and share."""
_MARGIN = 32
"""Pixels of mirrored scene around what the cameras see: a camera that moved sees what is not painted."""


def random_motion(rng: np.random.Generator) -> NDArray[np.float64]:
    """A camera's motion, [3, 3]: takes a pixel (x, y, 1) of the after image to where it is in the before image.

    A shift, and a roll and a zoom about the middle of the image. Pixels are counted at their centres.
    """
    length, direction = MOST_SHIFT * math.sqrt(rng.random()), 2 * math.pi * rng.random()
    roll = math.radians(MOST_ROLL) * (2 * rng.random() - 1)
    zoom = 1 + MOST_ZOOM * (2 * rng.random() - 1)
    x, y = ((side - 1) / 2 for side in IMAGE_SIZE)
    cos, sin = zoom * math.cos(roll), zoom * math.sin(roll)
    return np.array(
        [
            [cos, -sin, x - cos * x + sin * y + length * math.cos(direction)],
            [sin, cos, y - sin * x - cos * y + length * math.sin(direction)],
            [0, 0, 1],
        ]
    )


def moved(image: Image.Image, motion: NDArray[np.float64]) -> Image.Image:
    """The RGB image as a camera sees it that has moved by `motion`; what lies outside of it is its mirror image."""
    padded = np.pad(np.asarray(image), ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="reflect")
    # Pillow counts pixels at their corners.
    corner, inner = np.eye(3), np.eye(3)
    corner[:2, 2], inner[:2, 2] = -0.5, _MARGIN + 0.5
    seen = inner @ np.linalg.inv(motion) @ corner
    numbers = (seen / seen[2, 2]).ravel()[:8].tolist()
    return Image.fromarray(padded).transform(image.size, Image.Transform.PERSPECTIVE, numbers, Image.Resampling.BICUBIC)


def in_weather(
    rng: np.random.Generator, image: Image.Image, *, light: float, noise: float, weather: str
) -> Image.Image:
    """The RGB image under uneven light of some colour, in weather, through a sensor that is not free of noise.

    Args:
        rng: where light, drops and noise come from.
        image: of the size of the data set's images.
        light: factor on all pixels, on average.
        noise: standard deviation of the sensor noise, in grey levels.
        weather: `clear`, `rain` or `fog`.
    """
    clouds = 1 + 0.12 * (smooth_noise(rng, image.size, 3)[..., None] - 0.5)
    tint = 1 + 0.03 * (2 * rng.random(3, dtype=np.float32) - 1)
    pixels = np.asarray(image, dtype=np.float32) * light * clouds * tint
    if weather == "fog":
        pixels += (168 - pixels) * np.float32(0.1 + 0.15 * rng.random())
    elif weather == "rain":
        pixels += _rain(rng, image.size)[..., None]
    pixels += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(noise)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def _rain(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.float32]:
    """What drops add, [height, width]: short streaks, aslant, each in front of another part of the scene."""
    width, height = size
    streaks = np.zeros((height, width), dtype=np.float32)
    for _ in range(int(rng.integers(40, 81))):
        x, y, length = int(rng.integers(width)), int(rng.integers(height)), int(rng.integers(5, 12))
        down = np.arange(length)
        rows, columns = (y + down) % height, (x + down // 4) % width
        streaks[rows, columns] = 25 + 25 * rng.random()
    return streaks
