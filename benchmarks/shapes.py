"""An endless stream of moved geometric shapes: what the sample checkpoint is pre-trained on.

Deliberately other shapes, classes and backgrounds than the sample data set (`trainable/sample/data_set.py`).
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image, ImageChops, ImageDraw
from torch.utils.data import IterableDataset, get_worker_info

from trainable.sample.scene import Box, Scene, Thing, draw_sprite, photograph, smooth_noise

SHAPES = ("ellipse", "rectangle", "triangle", "cross", "ring")
IMAGE_SIZE = (128, 96)
"""width, height in pixels."""


class ShapeStream(IterableDataset[dict[str, torch.Tensor]]):
    """Differences of moved shapes without end; each worker draws its own.

    Yields dicts of `difference` (uint8 [3, height, width]), `boxes_cxcywh_normalised` (float32 [n, 4]) and
    `class_labels` (int64 [n]).
    """

    def __init__(self, seed: int):
        self.seed = seed

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.seed, worker.id if worker else 0])
        backgrounds = [_background(rng) for _ in range(64)]
        while True:
            if rng.random() < 0.02:
                backgrounds[int(rng.integers(64))] = _background(rng)
            yield shape_sample(rng, backgrounds[int(rng.integers(64))])


def shape_sample(rng: np.random.Generator, background: Image.Image) -> dict[str, torch.Tensor]:
    """One difference image of a random scene and its labels (see `ShapeStream`)."""
    scene = Scene(IMAGE_SIZE)
    for _ in range(int(rng.choice(4, p=[0.05, 0.4, 0.35, 0.2]))):
        leaves, enters = [(True, True), (True, False), (False, True)][int(rng.choice(3, p=[0.7, 0.15, 0.15]))]
        scene.move(rng, _shape(rng, background), leaves=leaves, enters=enters)
    for _ in range(int(rng.integers(0, 3))):
        scene.park(rng, _shape(rng, background))
    noise, shadow = float(rng.uniform(1, 5)), float(rng.choice([0.0, 0.3, 0.5]))
    before, after = (
        photograph(rng, background, things, light=float(rng.uniform(0.95, 1.05)), noise=noise, shadow=shadow)
        for things in (scene.before, scene.after)
    )
    boxes = [_cxcywh_normalised(place) for _, place in scene.moved]
    return {
        "difference": torch.from_numpy(np.array(ImageChops.difference(before, after)).transpose(2, 0, 1).copy()),
        "boxes_cxcywh_normalised": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "class_labels": torch.tensor([class_id for class_id, _ in scene.moved], dtype=torch.int64),
    }


def _background(rng: np.random.Generator) -> Image.Image:
    """Clouds of grey at three scales with a slight tint; mean brightness 70-180."""
    grey = np.sum([smooth_noise(rng, IMAGE_SIZE, cells) / cells**0.5 for cells in (3, 9, 40)], axis=0)
    grey = (grey - grey.mean()) * rng.uniform(15, 60) + rng.uniform(70, 180)
    tint = rng.uniform(0.85, 1.15, 3)
    return Image.fromarray(np.clip(grey[:, :, None] * tint, 0, 255).astype(np.uint8))


def _shape(rng: np.random.Generator, background: Image.Image) -> Thing:
    """A shape whose colour differs from the background's mean by at least 60 grey levels in some channel."""
    class_id = int(rng.integers(len(SHAPES)))
    height = int(rng.integers(18, 48))
    width = int(np.clip(height * rng.uniform(0.5, 2.0), 14, 64))
    mean = np.asarray(background.resize((1, 1), Image.Resampling.BOX))[0, 0].astype(int)
    while True:
        colour = rng.integers(0, 256, 3)
        if np.abs(colour - mean).max() >= 60:
            break
    stripe = np.clip(colour + rng.integers(-50, 51, 3), 0, 255)
    return Thing(class_id, draw_sprite((width, height), _painter(rng, SHAPES[class_id], colour, stripe), scale=2))


def _painter(
    rng: np.random.Generator, shape: str, colour: np.ndarray, stripe: np.ndarray
) -> Callable[[Image.Image], None]:
    period, phase = int(rng.integers(8, 30)), int(rng.integers(0, 30))

    def paint(image: Image.Image) -> None:
        width, height = image.size
        mask = Image.new("L", image.size)
        draw, full = ImageDraw.Draw(mask), (0, 0, width - 1, height - 1)
        if shape == "ellipse":
            draw.ellipse(full, fill=255)
        elif shape == "rectangle":
            draw.rectangle(full, fill=255)
        elif shape == "triangle":
            draw.polygon([(width // 2, 0), (width - 1, height - 1), (0, height - 1)], fill=255)
        elif shape == "cross":
            draw.rectangle((width // 3, 0, 2 * width // 3, height - 1), fill=255)
            draw.rectangle((0, height // 3, width - 1, 2 * height // 3), fill=255)
        else:
            draw.ellipse(full, fill=255)
            draw.ellipse((width // 3, height // 3, 2 * width // 3, 2 * height // 3), fill=0)
        texture = Image.new("RGB", image.size, tuple(int(c) for c in colour))
        pen = ImageDraw.Draw(texture)
        for y in range(phase - 30, height, period):
            pen.rectangle((0, y, width, y + period // 3), fill=tuple(int(c) for c in stripe))
        image.paste(texture, (0, 0), mask)

    return paint


def _cxcywh_normalised(place: Box) -> tuple[float, float, float, float]:
    left, top, right, bottom = place
    width, height = IMAGE_SIZE
    return (left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height
