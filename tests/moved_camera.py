"""Pairs of a camera that moves before a place full of detail, for tests of what registers them."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

SIZE = (160, 120)


def place(rng: np.random.Generator) -> np.ndarray:
    """Rectangles of all sizes and colours, blurred a little: uint8 [height, width, 3]."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 120, np.uint8)
    for _ in range(500):
        x, y, w, h = (int(rng.integers(most)) for most in (*SIZE, 22, 22))
        cv2.rectangle(pixels, (x, y), (x + w, y + h), [int(value) for value in rng.integers(30, 220, 3)], -1)
    return cv2.GaussianBlur(pixels, (0, 0), 0.8)


def write_pairs(folder: Path, train: int = 6, val: int = 3) -> Path:
    """Writes a data set of classes `square` and `circle`; the camera moves by up to 5 pixels, but not in pair `v0`."""
    for name in ("before", "after", "labels"):
        (folder / name).mkdir(parents=True)
    ids = [f"t{index}" for index in range(train)], [f"v{index}" for index in range(val)]
    for index, id_ in enumerate([*ids[0], *ids[1]]):
        rng = np.random.default_rng([7, index])
        before = place(rng)
        after, (x, y) = before.copy(), rng.integers(10, 70, 2)
        after[y : y + 30, x : x + 40] = rng.integers(180, 255, 3)
        moved = np.eye(3)
        if id_ != "v0":
            moved[:2, 2] = rng.uniform(2, 5, 2)
        before = cv2.warpPerspective(before, moved, SIZE, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        Image.fromarray(before).save(folder / "before" / f"{id_}.png")
        Image.fromarray(after).save(folder / "after" / f"{id_}.png")
        label = f"{index % 2} {(x + 20) / SIZE[0]:.6f} {(y + 15) / SIZE[1]:.6f} {40 / SIZE[0]:.6f} {30 / SIZE[1]:.6f}\n"
        (folder / "labels" / f"{id_}.txt").write_text(label)
    (folder / "classes.txt").write_text("square\ncircle\n")
    for name, of_split in zip(("train", "val"), ids, strict=True):
        (folder / f"{name}.txt").write_text("".join(f"{id_}\n" for id_ in of_split))
    return folder
