"""How long a trial may train before it can be stopped, and what that asks of a recipe."""

import dataclasses
import math

from trainable.recipe import Recipe

HEADS = frozenset({"box_head", "class_head"})
"""A stage that trains nothing else is head-only."""


def default_grace(max_epochs: int) -> int:
    """Epochs before a trial may be pruned: a sixth of `max_epochs`, rounded up, at least 2."""
    return max(2, math.ceil(max_epochs / 6))


def fits_grace(recipe: Recipe, grace: int) -> bool:
    """Whether the head-only stages, all together, are over within `grace` epochs.

    If they are, no recipe is stopped merely for unfreezing later than another.
    """
    return sum(stage.epochs for stage in recipe.stages if HEADS.issuperset(stage.trainable)) <= grace


def shorten_heads(recipe: Recipe, grace: int) -> Recipe:
    """The recipe with head-only stages cut to `grace` epochs together; what they lose goes to the stage after them.

    For a grace period shorter than the default, which the spaces keep to.
    """
    head_only = [stage for stage in recipe.stages if HEADS.issuperset(stage.trainable)]
    if fits_grace(recipe, grace) or len(head_only) == len(recipe.stages):
        return recipe
    left, lengths = max(grace, len(head_only)), []
    for index, stage in enumerate(head_only):
        lengths.append(min(stage.epochs, left - (len(head_only) - index - 1)))
        left -= lengths[-1]
    following = recipe.stages[len(head_only)]
    lengths.append(following.epochs + sum(stage.epochs for stage in head_only) - sum(lengths))
    shortened = [
        dataclasses.replace(stage, epochs=epochs) for stage, epochs in zip(recipe.stages, lengths, strict=False)
    ]
    return dataclasses.replace(recipe, stages=(*shortened, *recipe.stages[len(shortened) :]))
