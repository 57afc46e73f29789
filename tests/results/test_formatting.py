"""Numbers as a person reads them."""

import pytest

from results.formatting import change


@pytest.mark.parametrize(
    ("value", "base", "said"),
    [
        (1.2, 1.0, "20 % higher"),
        (0.75, 1.0, "25 % lower"),
        (0.999, 0.1, "899 % higher"),
        (0.5140, 0.005709, "90 times as high"),
        (0.5, 0.0, "higher"),
        (0.0, 0.0, "the same"),
    ],
)
def test_a_change_is_told_in_percent_and_a_large_one_in_times(value, base, said):
    assert change(value, base) == said
