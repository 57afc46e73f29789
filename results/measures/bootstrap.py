"""How sure precision, recall and F1 are: intervals from drawing the pictures again."""

import numpy as np

from trainable.detection import precision_recall_f1

RESAMPLES, LEVEL, SEED = 1000, 0.95, 0


def bootstrap_intervals(counts: np.ndarray) -> dict[str, list[float]]:
    """The 95 % percentile interval of `precision`, `recall` and `f1`, from 1000 seeded resamples of the pictures.

    Whole pictures are drawn, with replacement, as many as there are: what is in one picture is not independent. The
    interval is of the figures at a fixed score threshold; that the threshold was chosen on the same pictures makes
    the figures a little too good, which it does not show.

    Args:
        counts: [pictures, 3], true positives, false negatives and false positives of each picture.

    Returns:
        `[low, high]` by name.
    """
    random = np.random.default_rng(SEED)
    pictures = len(counts)
    sums = np.array([counts[random.integers(pictures, size=pictures)].sum(axis=0) for _ in range(RESAMPLES)])
    tails = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    figures = zip(("precision", "recall", "f1"), precision_recall_f1(*sums.T), strict=True)
    return {name: np.quantile(values, tails).tolist() for name, values in figures}
