"""What an evaluation is worth by a metric other than the loss, which every evaluation has."""

from trainable.data.pairs import PairData
from trainable.detection import IOU_THRESHOLD, match, max_f1
from trainable.metric import METRICS, VAL_LOSS
from trainable.training.evaluation import Evaluation


def score(metric: str, evaluation: Evaluation, pairs: PairData) -> dict[str, float]:
    """The fields of a `trainable.history.Row` that a metric takes beside the losses.

    Args:
        metric: one of `METRICS`.
        evaluation: of the validation pairs.
        pairs: the data set; its validation pairs have boxes.
    """
    if metric == VAL_LOSS:
        return {}
    found, labelled = evaluation.detections, evaluation.ground_truth
    if metric == "f1":
        value = max_f1(match(found, labelled, [IOU_THRESHOLD]))
    else:
        from trainable.coco import coco_metrics  # It takes a while to import: only where it is asked for.

        value = coco_metrics(found, labelled, [pair.size for pair in pairs.val], pairs.names)["mAP"]
    return {METRICS[metric].field: value}
