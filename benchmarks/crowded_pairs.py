"""A second made-up data set, harder than the sample: crowds, noise and changing light, in larger images.

The same cameras and things as in `trainable/sample/`, but three to eight things that move in a pair instead of up to
three, as many that stand still, two to four times the sensor's noise, and light that changes by up to a fifth between
the two images. 200 pairs, 150 of them to train on.
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from trainable.sample.places import CAMERAS, empty_place
from trainable.sample.scene import Scene, photograph
from trainable.sample.things import CLASS_NAMES, random_thing
from trainable.storage.cache_folder import cache_folder

TRAINING_PAIRS, PAIRS = 150, 200
IMAGE_SIZE = 384, 288
"""width, height in pixels."""
_SEED = 1305


def crowded_data_set() -> Path:
    """Folder of the data set in the user's cache, painted if it is not there yet."""
    folder = cache_folder() / "benchmark-crowded-pairs-1"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as workshop:
            _paint(Path(workshop) / "made")
            (Path(workshop) / "made").rename(folder)
    return folder


def _paint(folder: Path) -> None:
    for name in ("before", "after", "labels"):
        (folder / name).mkdir(parents=True)
    pairs = [f"{CAMERAS[index % len(CAMERAS)]}_{index // len(CAMERAS):04d}" for index in range(PAIRS)]
    for index, pair in enumerate(pairs):
        _paint_pair(folder, pair, np.random.default_rng([_SEED, index]))
    for name, lines in (("classes", CLASS_NAMES), ("train", pairs[:TRAINING_PAIRS]), ("val", pairs[TRAINING_PAIRS:])):
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def _paint_pair(folder: Path, pair: str, rng: np.random.Generator) -> None:
    camera = pair.rpartition("_")[0]
    place = empty_place(camera, np.random.default_rng([_SEED, PAIRS + CAMERAS.index(camera)]))
    scene = Scene(IMAGE_SIZE)
    for _ in range(int(rng.integers(3, 9))):
        chance = rng.random()
        scene.move(rng, random_thing(rng), leaves=chance < 0.7, enters=not 0.4 <= chance < 0.7)
    for _ in range(int(rng.integers(2, 7))):
        scene.park(rng, random_thing(rng))
    noise, shadow, light = rng.uniform(5, 9), rng.uniform(0.2, 0.6), rng.uniform(0.8, 1.1)
    change = rng.uniform(0.8, 1.2)
    ground = place.resize(IMAGE_SIZE, Image.Resampling.BICUBIC)
    for side, things, factor in (("before", scene.before, light), ("after", scene.after, light * change)):
        image = photograph(rng, ground, things, light=factor, noise=noise, shadow=shadow)
        image.save(folder / side / f"{pair}.png", compress_level=1)
    width, height = IMAGE_SIZE
    (folder / "labels" / f"{pair}.txt").write_text(
        "".join(
            f"{class_id} {(left + right) / 2 / width:.6f} {(top + bottom) / 2 / height:.6f} "
            f"{(right - left) / width:.6f} {(bottom - top) / height:.6f}\n"
            for class_id, (left, top, right, bottom) in scene.moved
        )
    )
