"""How a detector's outputs become detections: each kind as its own image processor in transformers reads them."""

from dataclasses import dataclass

import numpy as np

from trainable.detection import Detections


@dataclass(frozen=True)
class Readout:
    """A way to read them."""

    by_sigmoid: bool = False
    """Whether each class of each query is a detection of its own; else a query is one, of its best class, and the last
    class is "no object"."""
    most: int | None = None
    """Of an image; None is as many as it has queries."""

    def detections(self, logits: np.ndarray, pred_boxes_cxcywh_normalised: np.ndarray) -> list[Detections]:
        """What transformers' `post_process_object_detection` makes of a batch, without a threshold.

        Args:
            logits: float32 [batch, queries, classes], with one class more where the last one is "no object".
            pred_boxes_cxcywh_normalised: float32 [batch, queries, 4].

        Returns:
            One `Detections` an image of the batch, in order.
        """
        centre, half = pred_boxes_cxcywh_normalised[..., :2], 0.5 * pred_boxes_cxcywh_normalised[..., 2:]
        boxes = np.concatenate([centre - half, centre + half], axis=-1)
        if not self.by_sigmoid:
            odds = np.exp(logits - logits.max(-1, keepdims=True))
            probabilities = (odds / odds.sum(-1, keepdims=True))[..., :-1]  # [batch, queries, classes]
            each = zip(boxes, probabilities.max(-1), probabilities.argmax(-1), strict=True)
            return [Detections(*image) for image in each]
        batch, queries, classes = logits.shape
        scores = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32).reshape(batch, -1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, : self.most or queries]
        return [
            Detections(boxes[image, order // classes], scores[image, order], order % classes)
            for image, order in enumerate(best)
        ]


SOFTMAX = Readout()
_BEST_HUNDRED = Readout(by_sigmoid=True, most=100)
_READOUTS = {
    "conditional_detr": _BEST_HUNDRED,
    "dab-detr": _BEST_HUNDRED,
    "deformable_detr": _BEST_HUNDRED,
    "rt_detr": Readout(by_sigmoid=True),
    "rt_detr_v2": Readout(by_sigmoid=True),
    "d_fine": Readout(by_sigmoid=True),
}


def readout_of(model_type: str) -> Readout:
    """How models are read that `config.json` names so."""
    return _READOUTS.get(model_type, SOFTMAX)
