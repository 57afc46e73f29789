"""What a search will take is told once, from the reference's own epochs."""

import pytest

from search.console.forecast import Forecast, expected_seconds
from search.options import Options

GIB = 2**30
OPTIONS = Options("staged", None, "embedded", 16, 24, 4, "/somewhere", "first")


def test_a_trial_alone_has_all_epochs_and_the_last_one_known_stands_for_those_to_come():
    assert expected_seconds([1, 1, 5], trials=1, max_epochs=10, grace=2, reduction=3) == 1 + 1 + 8 * 5


def test_of_the_others_one_in_so_many_goes_on_past_each_rung():
    # 9 others: 2 epochs each, then 3 of them to epoch 6, then one to epoch 8.
    assert expected_seconds([1], trials=10, max_epochs=8, grace=2, reduction=3) == 8 + 9 * 2 + 3 * 4 + 1 * 2


@pytest.fixture
def said():
    return []


def test_it_waits_for_an_epoch_in_which_all_trains_and_is_told_once(search, said, row):
    study, forecast = search("staged", max_epochs=24).study, Forecast(OPTIONS, 4, said.append)
    forecast.tick(None, None)
    reference = study.ask()
    heads = reference.stages[0].epochs
    for epoch in range(1, heads + 1):
        study.report(0, row(epoch, 3.0, stage=0, seconds=float(epoch)))
        forecast.tick(reference, (6 * GIB, 15 * GIB))
    assert said == []
    for epoch in (heads + 1, heads + 2):
        study.report(0, row(epoch, 3.0, stage=1, seconds=heads + 74.0 * (epoch - heads)))
        forecast.tick(reference, None)
        forecast.tick(reference, (int(6.1 * GIB), 15 * GIB))
    (line,) = said
    assert line.startswith("where all of the model trains, a trial takes 6.1 GiB of 15.0 GiB of memory and 1 min 14 s")
    seconds = expected_seconds([1.0] * heads + [74.0], 16, 24, 4, 4) / 4
    assert f"the search takes about {seconds // 60:.0f} min" in line
