import dataclasses

import pytest

from tests.made_up import trained_row
from trainable.history import ROWS, best_row, current_stage, stage_is_over
from trainable.recipe import PARTS, Recipe, Stage

RECIPE = Recipe((Stage("a", ("class_head",), epochs=3, learning_rate=1e-3), Stage("b", PARTS, 2, 1e-4)))
PATIENT = dataclasses.replace(RECIPE, patience=2)


def history_of(*stages):
    """Rows of stages that are given as lists of `val_loss`."""
    losses = [(stage, loss) for stage, losses in enumerate(stages) for loss in losses]
    return [trained_row(epoch, loss, stage=stage) for epoch, (stage, loss) in enumerate(losses, start=1)]


@pytest.mark.parametrize(
    ("recipe", "stages", "expected"),
    [
        (RECIPE, [], 0),
        (RECIPE, [[3, 2]], 0),
        (RECIPE, [[1, 2, 3]], 1),
        (RECIPE, [[1, 2, 3], [1]], 1),
        (RECIPE, [[1, 2, 3], [1, 1]], None),
        (PATIENT, [[3, 4]], 0),
        (PATIENT, [[4, 3, 4]], 1),
        (PATIENT, [[1], [5, 4]], None),
    ],
    ids=str,
)
def test_the_next_stage_follows_from_the_history(recipe, stages, expected):
    assert current_stage(history_of(*stages), recipe) == expected


@pytest.mark.parametrize(
    ("losses", "over"), [([3, 2, 1], False), ([3, 4, 2], False), ([3, 4, 5], True), ([3, 3, 3], True), ([3, 4], False)]
)
def test_patience_counts_epochs_without_a_lower_loss(losses, over):
    recipe = dataclasses.replace(PATIENT, stages=(Stage("long", PARTS, 9, 1e-3),))
    assert stage_is_over(history_of(losses), recipe, 0) == over
    assert not stage_is_over(history_of(losses), dataclasses.replace(recipe, patience=None), 0)


def test_patience_looks_at_its_own_stage_only():
    assert not stage_is_over(history_of([1, 1, 1], [9]), dataclasses.replace(PATIENT, patience=1), 1)


def test_the_best_row_is_the_earliest_of_the_lowest():
    history = history_of([3, 2, 2], [4, 2])
    assert best_row(history).epoch == 2
    assert best_row(history, stage=1).epoch == 5


def test_by_another_metric_the_best_row_is_that_of_the_highest_value():
    history = [trained_row(1, 2.0, map=0.25), trained_row(2, 3.0, map=0.5), trained_row(3, 1.0, map=0.5)]
    assert [(row.metric.title, row.compared, row.objective) for row in history[:2]] == [
        ("mAP", 0.25, 0.75),
        ("mAP", 0.5, 0.5),
    ]
    assert best_row(history).epoch == 3, "of equals, that of the lower loss"
    longer = dataclasses.replace(PATIENT, stages=(Stage("long", PARTS, 9, 1e-3),), patience=1)
    assert not stage_is_over(history, longer, 0)
    assert stage_is_over([*history, trained_row(4, 0.5, map=0.4)], longer, 0)


def test_where_nothing_is_found_yet_the_next_stage_starts_from_the_lowest_loss():
    assert best_row([trained_row(epoch, 4.0 - epoch, max_f1=0.0) for epoch in (1, 2, 3)]).epoch == 3


@pytest.mark.parametrize("more", [{}, {"map": 0.25}, {"max_f1": 0.25}], ids=str)
def test_a_row_is_read_as_it_was_written_and_says_only_what_was_measured(more):
    row = trained_row(1, 2.0, **more)
    assert row.to_dict().keys() & {"map", "max_f1"} == more.keys()
    assert ROWS.validate_python([row.to_dict()]) == [row]
