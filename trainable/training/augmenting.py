"""The training pairs of a stage as a recipe's augmentation changes them."""

import dataclasses
import logging
from collections.abc import Sequence

from trainable.data.augmentation import Changes
from trainable.data.augmented_pairs import AugmentedPairs
from trainable.data.dataset import MovedObjectDataset
from trainable.data.image_cache import ImageCache
from trainable.data.pair import Pair
from trainable.data.resizing import ImageProcessor
from trainable.data.trial_data import TrialData
from trainable.model_signal import STACKED
from trainable.recipe import Recipe
from trainable.reuse.config import ReuseConfig
from trainable.training.stage_trainer import stage_seed

_log = logging.getLogger(__name__)


def augmented_pairs(
    pairs: Sequence[Pair],
    processor: ImageProcessor,
    recipe: Recipe,
    stage: int,
    both: ImageCache | None = None,
    stand_ins: bool = False,
) -> AugmentedPairs:
    """The pairs as the stage of a recipe is given them; the variants of a recipe are the same in all of its stages.

    Args:
        pairs, processor, both, stand_ins: as of `AugmentedPairs`.
        recipe: with augmentation.
        stage: index of the stage.
    """
    how = recipe.augmentation
    changes = Changes(how.probability, how.strength, exchanges=recipe.input.signal == STACKED)
    seed = stage_seed(recipe.seed, 0 if how.variants else stage)
    return AugmentedPairs(pairs, processor, changes, seed, both, stand_ins, how.variants)


def augmented(data: TrialData, recipe: Recipe, stage: int, both: ImageCache | None, reuse: ReuseConfig) -> TrialData:
    """A data set with the training pairs changed; variants are kept where there is room.

    Args:
        data: of pairs as they are.
        recipe: with augmentation.
        stage: index of the stage.
        both: has both resized images of each training pair; None makes them when they are asked for.
        reuse: what is done once.
    """
    plain = data.train
    assert isinstance(plain, MovedObjectDataset)
    train = augmented_pairs(plain.pairs, plain.processor, recipe, stage, both, plain.stand_ins)
    # Without the store of images, nothing says that they are still those that were checked.
    kept = both is not None and recipe.augmentation.variants is not None and train.keep(reuse.image_bytes)
    return dataclasses.replace(data, train=train, drawn_anew=not kept)
