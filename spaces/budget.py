"""How long a trial may train before it can be stopped, and what that asks of a recipe."""

import dataclasses
import itertools
import math

from trainable.recipe import Recipe, Stage

HEADS = frozenset({"box_head", "class_head"})
"""A stage that trains nothing else is head-only."""


def default_grace(max_epochs: int) -> int:
    """Epochs before a trial may be pruned: a sixth of `max_epochs`, rounded up, at least 2."""
    return max(2, math.ceil(max_epochs / 6))


def fits_grace(recipe: Recipe, grace: int) -> bool:
    """Whether the head-only stages that it begins with, all together, are over within `grace` epochs.

    If they are, no recipe is stopped merely for unfreezing later than another.
    """
    return sum(stage.epochs for stage in _first_stages(recipe)) <= grace


def shorten_heads(recipe: Recipe, grace: int) -> Recipe:
    """The recipe with its first, head-only stages cut to `grace` epochs together; the next stage gets what they lose.

    For a grace period shorter than the default, which the spaces keep to. Head-only stages after another one stay.
    """
    first = _first_stages(recipe)
    if fits_grace(recipe, grace) or len(first) == len(recipe.stages):
        return recipe
    left, lengths = max(grace, len(first)), []
    for index, stage in enumerate(first):
        lengths.append(min(stage.epochs, left - (len(first) - index - 1)))
        left -= lengths[-1]
    following = recipe.stages[len(first)]
    lengths.append(following.epochs + sum(stage.epochs for stage in first) - sum(lengths))
    shortened = [
        dataclasses.replace(stage, epochs=epochs) for stage, epochs in zip(recipe.stages, lengths, strict=False)
    ]
    return dataclasses.replace(recipe, stages=(*shortened, *recipe.stages[len(shortened) :]))


def _first_stages(recipe: Recipe) -> tuple[Stage, ...]:
    """The head-only stages before any other."""
    return tuple(itertools.takewhile(lambda stage: HEADS.issuperset(stage.trainable), recipe.stages))
