"""Images that labels are of: noise with squares, so that pairs are told apart and differ where things moved."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WIDTH, HEIGHT = 64, 48

Paint = Callable[..., Path]


@pytest.fixture
def paint() -> Paint:
    """Writes an image of noise with a bright square at each place (left, top, width, height)."""

    def painted(path: Path, *squares: tuple[int, int, int, int], size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
        seed = sum(path.stem.encode())
        pixels = np.random.default_rng(seed).integers(0, 30, (size[1], size[0], 3)).astype(np.uint8)
        for left, top, width, height in squares:
            pixels[top : top + height, left : left + width] = 230
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return path

    return painted


@pytest.fixture
def yards(tmp_path: Path, paint: Paint) -> Path:
    """Folder of three pairs `yard_N_before.png` and `yard_N_after.png`; a square moved from (4, 6) to (40, 20)."""
    for number in range(3):
        paint(tmp_path / "images" / f"yard_{number}_before.png", (4, 6, 10, 8))
        paint(tmp_path / "images" / f"yard_{number}_after.png", (40, 20, 10, 8))
    return tmp_path / "images"
