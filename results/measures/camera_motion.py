"""How the camera moved within each of the evaluated pairs, where the model's pairs are registered."""

import csv
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from trainable.data.difference import ImageError
from trainable.data.pair import Pair
from trainable.data.registration import NONE, Registration, registration
from trainable.data.signal_images import open_pair

MOST_KEPT = 100
"""Pairs at most that `metrics.json` names; the table has all."""
COLUMNS = ("id", "model", "shift", "inliers", "residual_before", "residual_after", "fault")


@dataclass(frozen=True)
class CameraMotions:
    """Of each pair, in their order, how its camera moved; of one that can no longer be read, None."""

    alignment: str
    ids: Sequence[str]
    found: Sequence[Registration | None]

    def table(self) -> str:
        """A CSV with one row a pair.

        Columns:
            id: the pair's.
            model: `translation`, `affine` or `homography`; `none` where the pair is used as it is.
            shift: pixels by which the image's corners moved, their mean.
            inliers: share of the features in both images that moved as the camera did.
            residual_before, residual_after: how much the images differ as they are and once registered, outside of
                what moved by itself and without their light, 0 to 1.
            fault: why it could not be registered.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self._row(index) for index, each in enumerate(self.found) if each)
        return text.getvalue()

    def in_metrics(self) -> dict[str, Any]:
        """What `metrics.json` keeps: the counts, and the rows of the pairs that moved or could not be registered."""
        of_note = [index for index, each in enumerate(self.found) if each and (each.model != NONE or each.fault)]
        ordered = sorted(of_note, key=lambda index: -(found.shift if (found := self.found[index]) else 0))
        known = [each for each in self.found if each]
        return {
            "alignment": self.alignment,
            "moved": sum(each.model != NONE for each in known),
            "not_registered": sum(bool(each.fault) for each in known),
            "pairs": [self._row(index) for index in ordered[:MOST_KEPT]],
        }

    def _row(self, index: int) -> dict[str, Any]:
        found = self.found[index]
        assert found is not None, "of a pair that could be read"
        figures = {name: round(getattr(found, name), 4) for name in COLUMNS[2:6]}
        return {"id": self.ids[index], "model": found.model, **figures, "fault": found.fault}


def camera_motions(pairs: Sequence[Pair], alignment: str, skip_bad: bool = False) -> CameraMotions:
    """Registers pairs as the model's own input is made.

    Args:
        pairs: checked pairs.
        alignment: one of `trainable.alignment.ALIGNMENTS`, not `OFF`.
        skip_bad: go on where a pair can no longer be read.

    Raises:
        ImageError: an image can no longer be read, without `skip_bad`.
    """

    def found(pair: Pair) -> Registration | None:
        try:
            return registration(*open_pair(pair), alignment)
        except ImageError:
            if not skip_bad:
                raise
            return None

    with ThreadPoolExecutor() as pool:
        return CameraMotions(alignment, [pair.id for pair in pairs], list(pool.map(found, pairs)))
