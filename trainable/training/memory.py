"""How many images go through the model at a time where that is left to the machine, by an estimate that times nothing.

Two runs must choose alike, so it depends on nothing but the model, the size of its images and the memory there is.
"""

import math

from trainable.data.dataset import padded_size
from trainable.data.pairs import PairData
from trainable.detector.loading import load_processor, model_config
from trainable.detector.memory import training_memory

MOST_ON_CPU = 16
"""Images at a time beyond which a CPU gains nothing: of the embedded checkpoint, one takes 12.6 ms among 16 and 12.4
among 32."""
MOST_ON_GPU = 256

SHARE = 0.7
"""Of the memory that a trial may count on; images on their way and what is not foreseen have the rest."""


def micro_batch_that_fits(pairs: PairData, checkpoint: str, image_size: int | None, memory: int, on_gpu: bool) -> int:
    """The largest power of two of images that a trial's model is trained on at a time, also where all of it trains.

    Args:
        pairs: the data set.
        checkpoint: folder or hub name of the DETR to start from.
        image_size: pixels of the shorter edge, see `Recipe.image_size`.
        memory: bytes that the trial may count on.
        on_gpu: whether it trains on one.

    Raises:
        ModelError: the checkpoint cannot be used.
    """
    size = padded_size((*pairs.train, *pairs.val), load_processor(checkpoint, image_size))
    takes = training_memory(model_config(checkpoint), size, device="cuda" if on_gpu else "cpu")
    fit = min(takes.images_within(SHARE * memory), MOST_ON_GPU if on_gpu else MOST_ON_CPU)
    return 2 ** int(math.log2(fit)) if fit else 1
