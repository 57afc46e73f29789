"""The rows of the report's tables say what a person reads."""

from dataclasses import replace

import pytest

from results.page.rows import differences
from trainable.recipe import REFERENCE, Augmentation


@pytest.mark.parametrize(("variants", "shown"), [(None, "anew in every epoch"), (4, "4")])
def test_how_pairs_are_augmented_is_said_where_the_reference_does_not(variants, shown):
    augmented = replace(REFERENCE, augmentation=Augmentation(0.3, 0.5, variants))
    assert differences(augmented, REFERENCE) == [
        ("augmentation probability", "0.3", "–"),
        ("augmentation strength", "0.5", "–"),
        ("augmentation variants", shown, "–"),
    ]
