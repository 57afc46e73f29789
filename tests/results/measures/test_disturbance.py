"""Pairs that differ everywhere are flagged, those in which only things moved are not."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from results.measures.disturbance import flagged
from trainable.data.annotations import Labels
from trainable.data.pair import Pair

HEIGHT, WIDTH = 60, 80
HALF = (0.25, 0.5, 0.5, 1.0)  # the left half


@pytest.fixture
def scene() -> np.ndarray:
    """Blocks of eight pixels and a little noise."""
    random = np.random.default_rng(0)
    blocks = random.integers(20, 200, (8, 10, 3)).repeat(8, axis=0).repeat(8, axis=1)[:HEIGHT]
    return (blocks + random.integers(-4, 5, (HEIGHT, WIDTH, 1))).astype(np.uint8)


def is_flagged(folder: Path, before: np.ndarray, after: np.ndarray, *boxes: tuple[float, float, float, float]) -> bool:
    for name, pixels in (("before", before), ("after", after)):
        Image.fromarray(pixels).save(folder / f"{name}.png")
    labels = Labels((0,) * len(boxes), boxes)
    return flagged([Pair("a", folder / "before.png", folder / "after.png", (WIDTH, HEIGHT), labels, "")])[0]


def test_noise_is_not_flagged(tmp_path: Path, scene: np.ndarray) -> None:
    noise = np.random.default_rng(1).integers(-8, 9, scene.shape)
    assert not is_flagged(tmp_path, scene, (scene + noise).astype(np.uint8))


def test_a_camera_that_moved_is_flagged(tmp_path: Path, scene: np.ndarray) -> None:
    assert is_flagged(tmp_path, scene, np.roll(scene, (3, 3), axis=(0, 1)))


@pytest.mark.parametrize("step", [20, -20])
def test_light_that_changed_is_flagged(tmp_path: Path, scene: np.ndarray, step: int) -> None:
    assert is_flagged(tmp_path, scene, np.clip(scene.astype(int) + step, 0, 255).astype(np.uint8))


def test_a_large_thing_that_moved_is_flagged_only_where_it_is_not_labelled(tmp_path: Path, scene: np.ndarray) -> None:
    after = scene.copy()
    after[:, : WIDTH // 2] = 255
    assert not is_flagged(tmp_path, scene, after, HALF)
    assert is_flagged(tmp_path, scene, after)


def test_a_small_bright_thing_without_a_label_is_not_flagged(tmp_path: Path, scene: np.ndarray) -> None:
    after = scene.copy()
    after[10:30, 10:40] = 255
    assert not is_flagged(tmp_path, scene, after)


def test_a_pair_that_is_labelled_all_over_is_not_flagged(tmp_path: Path, scene: np.ndarray) -> None:
    assert not is_flagged(tmp_path, scene, 255 - scene, (0.5, 0.5, 1.0, 1.0))
