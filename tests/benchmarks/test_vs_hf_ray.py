"""The comparison with Hugging Face's search counts both sides alike."""

import math
from pathlib import Path
from types import ModuleType

import pytest

from search.study import Budget, fit_recipe
from trainable.recipe import reference

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import timed_search

    return timed_search


def test_a_paused_trial_counts_each_epoch_once_and_the_phases_add_up(timed: ModuleType) -> None:
    moments = [
        timed.Moment("asked", 0, 12.0),
        timed.Moment("reported", 0, 15.0, 1, 3.0),
        timed.Moment("paused", 0, 15.5),
        timed.Moment("asked", 1, 16.0),
        timed.Moment("reported", 1, 16.5, 1, 2.0),
        timed.Moment("promoted", 0, 17.0),
        timed.Moment("reported", 0, 18.0, 1, 3.0),
        timed.Moment("reported", 0, 20.0, 2, 1.0),
        timed.Moment("ended", 0, 20.5),
    ]
    row = timed.TimedSearch(10.0, 12.0, moments).row()
    assert (row["trials"], row["trial-epochs"], row["seconds a trial-epoch"]) == (2, 3, 4.0)
    assert (row["  the first trial's first epoch"], row["  the other trials' first epochs"]) == (3.0, 0.5)
    assert row["  all later epochs"] == 3.0
    assert sum(value for name, value in row.items() if name.startswith("  ")) == row["seconds in all"] == 12.0


def test_the_time_to_a_loss_ends_with_the_first_epoch_that_is_as_low(timed: ModuleType) -> None:
    moments = [timed.Moment("reported", 0, 10.0 + epoch, epoch, 3.0 - epoch) for epoch in (1, 2)]
    search = timed.TimedSearch(10.0, 3.0, moments)
    assert [search.seconds_to(loss) for loss in (2.5, search.final_loss, 0.5)] == [1.0, 2.0, math.inf]


def test_the_epochs_to_a_loss_count_those_trained_twice_once(timed: ModuleType) -> None:
    losses = [(0, 1, 3.0), (0, 2, 2.0), (1, 1, 2.5), (0, 2, 2.0), (1, 2, 1.0)]
    moments = [timed.Moment("asked", 0, 10.0), *(timed.Moment("reported", n, 11.0, e, loss) for n, e, loss in losses)]
    search = timed.TimedSearch(10.0, 3.0, moments)
    assert [search.epochs_to(loss) for loss in (3.0, 2.2, 1.0, 0.5)] == [1, 2, 4, math.inf]


def test_judging_the_other_sides_models_costs_it_no_time(timed: ModuleType) -> None:
    lines = [
        {"event": "asked", "trial": 0, "time": 101.0},
        {"event": "reported", "trial": 0, "time": 106.0, "epoch": 1, "val_loss": 2.0, "judging_seconds": 3.0},
        {"event": "reported", "trial": 0, "time": 108.0, "epoch": 2, "val_loss": 1.0, "judging_seconds": 1.0},
    ]
    search = timed.without_judging(100.0, 9.0, lines)
    assert (search.seconds, search.seconds_to(2.0), search.seconds_to(1.0)) == (5.0, 3.0, 4.0)


@pytest.fixture
def vs_hf_ray(timed: ModuleType) -> ModuleType:
    import vs_hf_ray

    return vs_hf_ray


def test_a_recipe_is_the_listed_one_however_many_images_the_machine_takes_at_a_time(vs_hf_ray: ModuleType) -> None:
    listed, searched = (fit_recipe(reference(24), Budget(24, 4, 96, 0, micro_batch=size)) for size in ("recipe", "16"))
    assert searched != listed
    assert vs_hf_ray.as_listed(searched) == vs_hf_ray.as_listed(listed) == listed.to_dict()


def test_a_log_gives_back_the_search_of_its_key_alone(vs_hf_ray: ModuleType, timed: ModuleType, tmp_path: Path) -> None:
    search = timed.TimedSearch(10.0, 3.0, [timed.Moment("asked", 0, 10.5), timed.Moment("reported", 0, 11.0, 1, 2.0)])
    vs_hf_ray.Log(tmp_path / "log.jsonl").add(["staged 16x24", "reuse", 0], search)
    log = vs_hf_ray.Log(tmp_path / "log.jsonl")
    assert log.get(["staged 16x24", "reuse", 0]) == search
    assert log.get(["staged 16x24", "reuse", 1]) is None
