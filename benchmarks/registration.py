"""How near registration comes to a camera's motion, where that is known, and what it costs.

    python benchmarks/registration.py [--data my_pairs/]

The pairs are those of `sample:moved-camera`, and with `--data` copies of that data set's whose before images are
warped by motions of up to 12 pixels, 2 degrees and 2 %, drawn from a seed; and the still ones of both. The error of a
pair is the distance between where the motion found and the real one take a pixel, its mean over the image.
"""

import argparse
import math
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainable.alignment import AUTO, LADDER
from trainable.data.pair import Pair
from trainable.data.registration import Registration, registration
from trainable.data.signal_images import open_pair
from trainable.data.source import read_source
from trainable.sample.data_set import MOVED_CAMERA, camera_motions, sample_data_set

MOST_SHIFT, MOST_ROLL, MOST_ZOOM = 12.0, 2.0, 0.02
"""Of a copy's before image: pixels in any direction, degrees and share."""
SEED = 14
GOAL = 0.5
"""Pixels."""

Matrix = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder or data.yaml of still cameras, to be warped")
    arguments = parser.parse_args()
    sample = read_source(str(sample_data_set(name=MOVED_CAMERA)), print)
    report(MOVED_CAMERA, (*sample.train, *sample.val), camera_motions())
    still = read_source(str(sample_data_set()), print)
    report("sample (still)", (*still.train, *still.val), {})
    if arguments.data:
        pairs = read_source(str(arguments.data), print)
        report(f"{arguments.data.name} (still)", (*pairs.train, *pairs.val), {})
        with tempfile.TemporaryDirectory() as scratch:
            warped = read_source(str(warped_copy(arguments.data, Path(scratch, "moved"))), print)
            report(
                f"{arguments.data.name}, warped", (*warped.train, *warped.val), motions_of(warped.train + warped.val)
            )


def report(title: str, pairs: Sequence[Pair], motions: Mapping[str, Matrix]) -> None:
    """Prints a line for each alignment: errors against the real motions, the models that were taken, and the time.

    Args:
        title: of the data set.
        pairs: its pairs.
        motions: by their ids; of those that are not there the camera stood still.
    """
    for alignment in (*LADDER, AUTO):
        errors, models, faults, seconds = [], Counter[str](), Counter[str](), []
        for pair in pairs:
            images = open_pair(pair)
            started = time.perf_counter()
            found = registration(*images, alignment)
            seconds.append(time.perf_counter() - started)
            errors.append(error_of(found, motions.get(pair.id, np.eye(3)), pair.size))
            models[found.model] += 1
            faults[found.fault] += 1
        failed = {fault: number for fault, number in faults.items() if fault}
        print(
            f"{title}, {alignment}: median {np.median(errors):.3f} px, 95 % within {np.quantile(errors, 0.95):.3f}, "
            f"{np.mean(np.array(errors) <= GOAL):.1%} within {GOAL} px; {dict(models)}{failed or ''}; "
            f"{1000 * np.median(seconds):.0f} ms a pair",
            flush=True,
        )


def error_of(found: Registration, motion: Matrix, size: tuple[int, int]) -> float:
    """Pixels between where two motions take a pixel of an image of this size, the mean over a grid."""
    x, y = np.meshgrid(np.linspace(0, size[0] - 1, 9), np.linspace(0, size[1] - 1, 9))
    points = np.stack([x, y], axis=-1).reshape(1, -1, 2)
    here, there = (cv2.perspectiveTransform(points, each) for each in (found.matrix, motion))
    return float(np.linalg.norm(here - there, axis=-1).mean())


def motions_of(pairs: Sequence[Pair]) -> dict[str, Matrix]:
    """How `warped_copy` moves the camera of each pair, by its id: after image to before image."""
    return {pair.id: _motion(pair.id, pair.size) for pair in pairs}


def warped_copy(data: Path, out: Path) -> Path:
    """A copy of a data set whose before images are seen by a camera that moved; returns where to read it.

    Args:
        data: folder with before/, after/ and labels/; it is not written to.
        out: folder of the copy, made.
    """
    shutil.copytree(data, out, ignore=shutil.ignore_patterns("before"))
    pairs = read_source(str(data), lambda *said: None)
    for pair in (*pairs.train, *pairs.val):
        before, after = (np.asarray(image) for image in open_pair(pair))
        # A before image that `motion` takes a pixel of the after image to: what it shows there, the other shows here.
        seen = cv2.warpPerspective(before, _motion(pair.id, pair.size), pair.size, flags=cv2.INTER_CUBIC)
        shown = cv2.warpPerspective(np.full(before.shape[:2], 255, np.uint8), _motion(pair.id, pair.size), pair.size)
        # What that camera saw beside it is not known: something like it.
        filled = np.where(shown[..., None] == 255, seen, cv2.GaussianBlur(after, (0, 0), 3))
        path = out / os.path.relpath(pair.before, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(filled).save(path.with_suffix(".png"))
    return out


def _motion(id_: str, size: tuple[int, int]) -> Matrix:
    rng = np.random.default_rng([SEED, *id_.encode()])
    length, direction = MOST_SHIFT * math.sqrt(rng.random()), 2 * math.pi * rng.random()
    roll, zoom = MOST_ROLL * (2 * rng.random() - 1), 1 + MOST_ZOOM * (2 * rng.random() - 1)
    motion = np.eye(3)
    motion[:2] = cv2.getRotationMatrix2D(((size[0] - 1) / 2, (size[1] - 1) / 2), roll, zoom)
    motion[:2, 2] += length * np.array([math.cos(direction), math.sin(direction)])
    return motion


if __name__ == "__main__":
    sys.exit(main())
