"""What may be asked of micro-batches: how many images of an optimizer step go through the model at a time."""

import dataclasses
import re

from trainable.recipe import Recipe

AUTO, OF_RECIPE = "auto", "recipe"
WORDS = f"{AUTO}, {OF_RECIPE} or a whole number, at least 1"
"""The rule of `is_micro_batch`."""

_WHOLE = re.compile("[1-9][0-9]{0,8}")


def is_micro_batch(asked: str) -> bool:
    """Whether something can be asked for: what the memory has room for, the recipe's own, or so many images."""
    return asked in (AUTO, OF_RECIPE) or bool(_WHOLE.fullmatch(asked))


def with_micro_batch(recipe: Recipe, asked: str) -> Recipe:
    """The recipe with as many images at a time as are asked for, at most those of a step; or as it is, by its own word.

    Args:
        recipe: what is to be trained.
        asked: as from `is_micro_batch`; what `AUTO` stands for has been worked out.
    """
    if asked == OF_RECIPE:
        return recipe
    return dataclasses.replace(recipe, micro_batch=min(int(asked), recipe.step_images))
