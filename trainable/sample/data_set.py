"""The embedded data sets: pairs of eight make-believe cameras, painted on first use and kept in the user's cache.

Nothing is downloaded. Every pair is drawn from its own seed, so each machine paints the same images. In one set the
cameras stand still; in the other they see the same scenes, but shake, in light and weather that change.
"""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainable.sample.moved_camera import in_weather, moved, random_motion
from trainable.sample.places import CAMERAS, IMAGE_SIZE, empty_place
from trainable.sample.scene import Box, Scene, photograph
from trainable.sample.things import CLASS_NAMES, random_thing
from trainable.storage.cache_folder import cache_folder

TRAINING_PAIRS = 96
VALIDATION_PAIRS = 32
VERSION = 1
"""Names the folders in the cache; goes up whenever other images are painted, which a test tells."""
SAMPLE, MOVED_CAMERA = "sample", "sample:moved-camera"
"""What `--data` calls them."""
_SEED, _SHAKEN = 20, 21
_PAIR_IDS = tuple(
    f"{CAMERAS[index % len(CAMERAS)]}_{index // len(CAMERAS):04d}" for index in range(TRAINING_PAIRS + VALIDATION_PAIRS)
)


def located(data: str | None, cache: Path | None = None) -> str:
    """Where the data set lies that a user's `--data` names; painted, where it is a sample that is not there yet.

    Args:
        data: a path or URI, `SAMPLE` or `MOVED_CAMERA`; None is the sample. What lies under such a name is meant first.
        cache: as `sample_data_set` takes it.

    Raises:
        OSError: the cache folder cannot be written.
    """
    return str(sample_data_set(cache, data or SAMPLE)) if is_sample(data) else str(data)


def is_sample(data: str | None) -> bool:
    """Whether a user's `--data` names an embedded data set."""
    return data is None or (data in _PAINTERS and not Path(data).exists())


def sample_data_set(cache: Path | None = None, name: str = SAMPLE) -> Path:
    """Folder of a sample data set (96 training and 32 validation pairs of 256 x 192), painted if not there yet.

    It appears under its name only when whole, so an interrupted call leaves nothing behind that counts, and any
    number of processes may call this at once.

    Args:
        cache: folder to keep it in; the user's cache folder by default, which follows `XDG_CACHE_HOME`.
        name: which, `SAMPLE` or `MOVED_CAMERA`.

    Raises:
        OSError: the cache folder cannot be written.
    """
    cache = cache or cache_folder()
    folder = cache / f"{_FOLDERS[name]}-{VERSION}"
    if _is_whole(folder):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=cache) as workshop:
            _paint_data_set(Path(workshop) / "made", _PAINTERS[name])
            _put_in_place(Path(workshop), folder)
    except OSError as error:
        raise OSError(
            f"{cache}: the sample data set cannot be written here ({error}); free the folder or set XDG_CACHE_HOME"
        ) from error
    return folder


def camera_motions() -> dict[str, NDArray[np.float64]]:
    """How the camera of each pair of `MOVED_CAMERA` moved, by the pair's id, as `random_motion` gives it."""
    return {id_: random_motion(np.random.default_rng([_SHAKEN, index])) for index, id_ in enumerate(_PAIR_IDS)}


def _is_whole(folder: Path) -> bool:
    """Whether every file is there; cleaners of cache folders may have taken some away."""
    names = [f"{side}/{pair}.png" for side in ("before", "after") for pair in _PAIR_IDS]
    names += [f"labels/{pair}.txt" for pair in _PAIR_IDS] + ["classes.txt", "train.txt", "val.txt"]
    return all((folder / name).is_file() for name in names)


def _put_in_place(workshop: Path, folder: Path) -> None:
    """Give the finished data set its name, unless another process was first with a whole one."""
    try:
        if folder.exists() and not _is_whole(folder):
            folder.replace(workshop / "damaged")
        (workshop / "made").replace(folder)
    except OSError:
        if not _is_whole(folder):
            raise


def _paint_data_set(folder: Path, paint: Callable[["_Shot"], tuple[Image.Image, Image.Image]]) -> None:
    for name in ("before", "after", "labels"):
        (folder / name).mkdir(parents=True)
    places = {
        camera: empty_place(camera, np.random.default_rng([_SEED, len(_PAIR_IDS) + number]))
        for number, camera in enumerate(CAMERAS)
    }
    for index, pair_id in enumerate(_PAIR_IDS):
        shot = _shot(index, places[pair_id.rpartition("_")[0]])
        for side, image in zip(("before", "after"), paint(shot), strict=True):
            image.save(folder / side / f"{pair_id}.png", compress_level=1)
        labels = [_label(class_id, box) for class_id, box in shot.scene.moved]
        _write_lines(folder / "labels" / f"{pair_id}.txt", labels)
    _write_lines(folder / "classes.txt", CLASS_NAMES)
    _write_lines(folder / "train.txt", _PAIR_IDS[:TRAINING_PAIRS])
    _write_lines(folder / "val.txt", _PAIR_IDS[TRAINING_PAIRS:])


@dataclass(frozen=True)
class _Shot:
    """What is to be photographed, and what it is drawn from."""

    index: int
    rng: np.random.Generator
    place: Image.Image
    scene: Scene
    noise: float
    shadow: float
    light: tuple[float, float]
    """Before and after."""


def _shot(index: int, place: Image.Image) -> _Shot:
    rng = np.random.default_rng([_SEED, index])
    scene = _scene(rng, still=index % 13 == 5)
    noise, shadow = int(rng.integers(20, 41)) / 10, (0.0, 0.3, 0.4, 0.5)[int(rng.integers(4))]
    light_before = int(rng.integers(900, 1101)) / 1000
    light_after = light_before * int(rng.integers(930, 1071)) / 1000
    return _Shot(index, rng, place, scene, noise, shadow, (light_before, light_after))


def _by_still_camera(shot: _Shot) -> tuple[Image.Image, Image.Image]:
    before, after = (
        photograph(shot.rng, shot.place, things, light=light, noise=shot.noise, shadow=shot.shadow)
        for things, light in zip((shot.scene.before, shot.scene.after), shot.light, strict=True)
    )
    return before, after


def _by_moved_camera(shot: _Shot) -> tuple[Image.Image, Image.Image]:
    """The after image from where the still camera stands, so that the labels stay."""
    rng = np.random.default_rng([_SHAKEN, shot.index])
    motion = random_motion(rng)
    weather, noise = ("clear", "clear", "rain", "fog")[int(rng.integers(4))], shot.noise * rng.uniform(1, 1.5)
    before, after = (
        photograph(shot.rng, shot.place, things, light=1, noise=0, shadow=shot.shadow)
        for things in (shot.scene.before, shot.scene.after)
    )
    light_before, light_after = shot.light
    return (
        in_weather(rng, moved(before, motion), light=light_before, noise=noise, weather=weather),
        in_weather(rng, after, light=light_after, noise=noise, weather=weather),
    )


_PAINTERS = {SAMPLE: _by_still_camera, MOVED_CAMERA: _by_moved_camera}
_FOLDERS = {SAMPLE: "sample-data-set", MOVED_CAMERA: "sample-moved-camera"}


def _scene(rng: np.random.Generator, *, still: bool) -> Scene:
    """Up to three parked things and, unless `still`, one to three that moved, most of them from place to place."""
    scene = Scene(IMAGE_SIZE)
    for _ in range(0 if still else int(rng.integers(1, 4))):
        chance = rng.random()
        scene.move(rng, random_thing(rng), leaves=chance < 0.85, enters=not 0.7 <= chance < 0.85)
    for _ in range(int(rng.integers(0, 4))):
        scene.park(rng, random_thing(rng))
    return scene


def _label(class_id: int, box_xyxy_pixels: Box) -> str:
    """One line of a label file: class, centre and size, normalised to the image."""
    left, top, right, bottom = box_xyxy_pixels
    width, height = IMAGE_SIZE
    x, y = (left + right) / 2 / width, (top + bottom) / 2 / height
    return f"{class_id} {x:.6f} {y:.6f} {(right - left) / width:.6f} {(bottom - top) / height:.6f}"


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
