"""The rungs of a search: the epochs at which it compares its trials."""

import math
from itertools import count, takewhile


def rung_epochs(grace: int, max_epochs: int, reduction: float) -> tuple[int, ...]:
    """The rungs, lowest first: the grace period, `reduction` times as many epochs, and so on below `max_epochs`.

    Args:
        grace: epochs of the lowest rung.
        max_epochs: epochs that no trial exceeds; reaching them is a trial's own end.
        reduction: one trial in so many goes on past a rung, above 1.
    """
    exact = takewhile(lambda epoch: epoch < max_epochs, (grace * reduction**index for index in count()))
    return tuple(dict.fromkeys(epoch for epoch in map(math.ceil, exact) if epoch < max_epochs))
