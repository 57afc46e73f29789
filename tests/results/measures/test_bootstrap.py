"""Intervals that narrow with the number of images, hold the figure, and are the same each time."""

import numpy as np
import pytest

from results.measures.bootstrap import bootstrap_intervals
from trainable.detection import precision_recall_f1


def counts_of(images: int, seed: int = 0) -> np.ndarray:
    """True positives, false negatives and false positives of images with three labels each, found with probability
    0.7.
    """
    random = np.random.default_rng(seed)
    tp = random.binomial(3, 0.7, images)
    return np.stack([tp, random.poisson(0.5, images), 3 - tp], axis=1)


def test_the_interval_holds_the_figures_of_all_images() -> None:
    counts = counts_of(30)
    intervals = bootstrap_intervals(counts)
    for (low, high), figure in zip(intervals.values(), precision_recall_f1(*counts.sum(axis=0)), strict=True):
        assert 0 <= low < figure < high <= 1
    assert list(intervals) == ["precision", "recall", "f1"]


def test_four_times_the_images_halve_the_interval() -> None:
    few, many = (bootstrap_intervals(counts_of(images))["recall"] for images in (100, 400))
    assert (few[1] - few[0]) / (many[1] - many[0]) == pytest.approx(2, rel=0.2)


def test_the_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    intervals = [bootstrap_intervals(counts_of(60, seed))["recall"] for seed in range(100)]
    assert 88 <= sum(low <= 0.7 <= high for low, high in intervals) <= 100


def test_images_are_drawn_whole() -> None:
    """Ten images that are all right or all wrong are less sure than a hundred labels would be."""
    clustered = np.array([[10, 0, 0], [0, 0, 10]] * 5)
    spread = np.array([[1, 0, 0], [0, 0, 1]] * 50)
    wide, narrow = (bootstrap_intervals(counts)["recall"] for counts in (clustered, spread))
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])


def test_the_same_counts_give_the_same_interval() -> None:
    assert bootstrap_intervals(counts_of(30)) == bootstrap_intervals(counts_of(30))


@pytest.mark.parametrize(("counts", "expected"), [([3, 0, 0], [1.0, 1.0]), ([0, 0, 0], [0.0, 0.0])])
def test_images_that_are_all_alike_leave_no_doubt(counts: list[int], expected: list[float]) -> None:
    assert bootstrap_intervals(np.array([counts] * 5)) == dict.fromkeys(("precision", "recall", "f1"), expected)
