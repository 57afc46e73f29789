"""Times the matching and the sweep against faster-coco-eval on the same random detections.

    python benchmarks/sweep.py [--images 5000 --predictions 100]

Both start from the same detections of a fairly good model: most predictions are weak and lie anywhere, some labels are
found twice. faster-coco-eval is timed without the conversion to COCO's dicts, so the ratio does not flatter the sweep.
The two take turns in going first; each figure is the median of the rounds. Memory is how far each raises the peak of
a process of its own; that of faster-coco-eval holds the dicts, since it cannot do without them.
"""

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from results.measures.sweep import IOU_THRESHOLDS, sweep
from trainable.coco import coco_labels, coco_results
from trainable.detection import Detections, GroundTruth, match

NAMES = ("person", "car", "bike")
SIZE = (1280, 720)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--predictions", type=int, default=100, help="an image")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    # Memory first: Linux hands the parent's peak on to its children, so the parent must still be small.
    megabytes = {
        name: peak_megabytes(name, arguments.images, arguments.predictions) for name in ("sweep", "faster-coco-eval")
    }
    detections, ground_truth = random_images(arguments.images, arguments.predictions)
    coco = coco_datasets(detections, ground_truth)
    contestants: dict[str, Callable[[], object]] = {
        "sweep": lambda: run_sweep(detections, ground_truth),
        "faster-coco-eval": lambda: run_coco(*coco),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for index in range(arguments.rounds):
        for name in list(contestants)[:: 1 if index % 2 == 0 else -1]:
            start = time.perf_counter()
            contestants[name]()
            seconds[name].append(time.perf_counter() - start)
    for name, values in seconds.items():
        print(f"{name}: {median(values):.2f} s, peak memory +{megabytes[name]:.0f} MB")
    print(f"ratio sweep/faster-coco-eval: {median(seconds['sweep']) / median(seconds['faster-coco-eval']):.2f}x")


def random_images(images: int, predictions: int) -> tuple[list[Detections], list[GroundTruth]]:
    """Images with 5 to 10 labels, one in ten with none; each label is found up to twice, the rest is noise."""
    random = np.random.default_rng(0)
    detections, ground_truth = [], []
    for _ in range(images):
        count = 0 if random.random() < 0.1 else int(random.integers(5, 11))
        boxes_xyxy, class_ids = random_boxes(random, count), random.integers(len(NAMES), size=count)
        found = random.integers(count, size=min(2 * count, predictions)) if count else np.empty(0, np.int64)
        noise = predictions - len(found)
        near = boxes_xyxy[found] + random.normal(scale=0.01, size=(len(found), 4))
        detections.append(
            Detections(
                np.concatenate([near, random_boxes(random, noise)]).astype(np.float32),
                np.concatenate([random.beta(4, 2, len(found)), random.beta(1, 8, noise)]).astype(np.float32),
                np.concatenate([class_ids[found], random.integers(len(NAMES), size=noise)]),
            )
        )
        ground_truth.append(GroundTruth(boxes_xyxy.astype(np.float32), class_ids))
    return detections, ground_truth


def random_boxes(random: np.random.Generator, count: int) -> np.ndarray:
    """[count, 4] normalised corners of boxes between 0.05 and 0.3 wide and high."""
    width_and_height = random.uniform(0.05, 0.3, (count, 2))
    left_and_top = random.uniform(0, 1 - width_and_height)
    return np.hstack([left_and_top, left_and_top + width_and_height])


def coco_datasets(detections: list[Detections], ground_truth: list[GroundTruth]) -> tuple[COCO, COCO]:
    sizes = [SIZE] * len(ground_truth)
    labels = coco_labels(ground_truth, sizes, NAMES)
    return labels, labels.loadRes(coco_results(detections, sizes))


def run_sweep(detections: list[Detections], ground_truth: list[GroundTruth]) -> None:
    sweep(match(detections, ground_truth, IOU_THRESHOLDS), NAMES)


def run_coco(labels: COCO, results: COCO) -> None:
    evaluation = COCOeval_faster(labels, results, iouType="bbox")
    evaluation.evaluate()
    evaluation.accumulate()


def peak_megabytes(name: str, images: int, predictions: int) -> float:
    """How far a contestant raises the peak memory of a fresh process that already holds the detections."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_raise_of_peak, (name, images, predictions))


def _raise_of_peak(name: str, images: int, predictions: int) -> float:
    detections, ground_truth = random_images(images, predictions)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if name == "sweep":
        run_sweep(detections, ground_truth)
    else:
        run_coco(*coco_datasets(detections, ground_truth))
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # Linux counts in KiB


if __name__ == "__main__":
    main()
