"""How sure precision, recall and F1 are: intervals from drawing the images again."""

import numpy as np

from trainable.detection import precision_recall_f1

RESAMPLES, LEVEL, SEED = 1000, 0.95, 0


def bootstrap_intervals(counts: np.ndarray) -> dict[str, list[float]]:
    """The 95 % percentile interval of `precision`, `recall` and `f1`, from 1000 seeded resamples of the images.

    Whole images are drawn, with replacement, as many as there are: what is in one image is not independent. The
    interval is of the figures at a fixed score threshold; that the threshold was chosen on the same images makes
    the figures a little too good, which it does not show.

    Args:
        counts: [images, 3], true positives, false negatives and false positives of each image.

    Returns:
        `[low, high]` by name.
    """
    random = np.random.default_rng(SEED)
    images = len(counts)
    sums = np.array([counts[random.integers(images, size=images)].sum(axis=0) for _ in range(RESAMPLES)])
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    figures = zip(("precision", "recall", "f1"), precision_recall_f1(*sums.T), strict=True)
    return {name: np.quantile(values, tails).tolist() for name, values in figures}
