"""What trials, and the epochs of a trial, are compared by."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A figure of the validation pairs that says which of two models is the better one."""

    field: str
    """Its name in a `trainable.history.Row`."""
    title: str
    """What a person reads."""
    more_is_better: bool

    @property
    def best(self) -> str:
        """What the best value is called."""
        return "highest" if self.more_is_better else "lowest"

    @property
    def lowered(self) -> str:
        """What a search lowers, as a person reads it: a `trainable.history.Row`'s objective."""
        return f"1 - {self.title}" if self.more_is_better else "the loss"


VAL_LOSS = "val_loss"
METRICS = {
    VAL_LOSS: Metric("val_loss", "val_loss", more_is_better=False),
    "map": Metric("map", "mAP", more_is_better=True),
    "f1": Metric("max_f1", "max F1", more_is_better=True),
}
"""By the names that users give them: DETR's loss; COCO's mean average precision at IoU 0.50 to 0.95; F1 at IoU 0.5 and
the score threshold at which it is the highest."""


def fault_of(metric: str, boxes: int) -> str | None:
    """Why models cannot be told apart by a metric of `METRICS`, on validation pairs with so many boxes."""
    if metric == VAL_LOSS or boxes:
        return None
    return f"metric {metric}: no validation pair has a labelled object to measure it by; {VAL_LOSS} needs none"
