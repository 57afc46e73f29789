import dataclasses

import pytest

from trainable.micro_batch import AUTO, OF_RECIPE, is_micro_batch, with_micro_batch
from trainable.recipe import REFERENCE


@pytest.mark.parametrize("asked", [AUTO, OF_RECIPE, "1", "16", "999999999"])
def test_a_word_or_a_number_of_images_can_be_asked_for(asked):
    assert is_micro_batch(asked)


@pytest.mark.parametrize("asked", ["", "0", "-1", "1.5", "016", " 8", "8\n", "AUTO", "٣", "9" * 5000])
def test_nothing_else_can(asked):
    assert not is_micro_batch(asked)


@pytest.mark.parametrize(("asked", "expected"), [("1", 1), ("16", 16), ("32", 32), ("64", 32)])
def test_a_step_is_what_goes_through_at_most(asked, expected):
    assert with_micro_batch(REFERENCE, asked) == dataclasses.replace(REFERENCE, micro_batch=expected)


def test_a_recipe_that_has_one_keeps_it_unless_another_is_asked_for():
    recipe = dataclasses.replace(REFERENCE, micro_batch=4)
    assert with_micro_batch(recipe, OF_RECIPE) is recipe
    assert with_micro_batch(recipe, "8").micro_batch == 8
