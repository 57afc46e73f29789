"""A search that was asked to ends when what it still expects to gain is below the noise between seeds."""

import numpy as np
import pytest

from search.options import Options, OptionsError
from search.patience import AUTO, LEAST_DRAWN, SCALES, expected_gain, verdict
from trainable.metric import METRICS


def losses_by_rate(recipe, epoch):
    """All recipes are within 2 % of each other."""
    return 2.0 - 0.05 * epoch - 20 * recipe["stages"][0]["learning_rate"]


def losses_far_apart(recipe, epoch):
    return 10 ** (1 - 2000 * recipe["stages"][0]["learning_rate"]) * (1 - 0.01 * epoch)


def test_a_search_whose_recipes_are_all_alike_ends_early_and_says_what_it_saved(search):
    one = search("learning_rate", losses_by_rate, patience=AUTO).run(40)
    assert LEAST_DRAWN < len(one.study.records) < 40 and one.study.left(40) == 0
    assert {record.status for record in one.study.records.values()} <= {"COMPLETED", "PRUNED"}
    said = one.study.over(40)
    assert f"{40 - len(one.study.records)} more trials are expected to lower the loss by" in str(said)
    trained = sum(len(record.history) for record in one.study.records.values())
    assert said.epochs == pytest.approx((40 - len(one.study.records)) * trained / len(one.study.records))


def test_the_same_search_goes_on_unless_it_is_asked_to_end_and_where_recipes_differ(search, tmp_path):
    assert len(search("learning_rate", losses_by_rate).run(40).study.records) == 40
    (tmp_path / "apart").mkdir()
    apart = search("learning_rate", losses_far_apart, patience=AUTO, folder=tmp_path / "apart").run(12)
    assert len(apart.study.records) == 12 and apart.study.over(12) is None


def test_a_killed_search_ends_where_the_unbroken_one_does(search, tmp_path):
    for name in ("broken", "whole"):
        (tmp_path / name).mkdir()
    whole = search("learning_rate", losses_by_rate, patience=AUTO, folder=tmp_path / "whole").run(40)
    broken = search("learning_rate", losses_by_rate, patience=AUTO, folder=tmp_path / "broken")
    broken.searcher.trials = 40
    for _ in range(4):
        broken.run_trial()
    broken.journal.close()
    resumed = search("learning_rate", losses_by_rate, patience=AUTO, folder=tmp_path / "broken").run(40)
    assert [r.recipe for r in resumed.study.records.values()] == [r.recipe for r in whole.study.records.values()]


def test_a_number_of_epochs_that_gain_nothing_ends_it():
    falling = [2.0 * 0.9**epoch for epoch in range(30)]
    still = [*falling, *[falling[-1] * (1 - 0.001 * epoch) for epoch in range(20)]]
    assert verdict("20", falling, [], [], 5, 10) is None
    assert verdict("20", still, [], [], 5, 10) is not None
    assert verdict("20", still[:-3], [], [], 5, 10) is None
    assert verdict("60", still, [], [], 5, 10) is None
    assert verdict("20", still, [], [], 0, 10) is None


def test_the_expected_gain_is_that_of_draws_from_a_normal_distribution():
    rng = np.random.default_rng(3)
    drawn = rng.normal(size=4000)
    best = -1.5
    for more in (1, 10, 100):
        lowest = rng.normal(drawn.mean(), drawn.std(), size=(1_000_000 // more, more)).min(1)
        simulated = (best - lowest).clip(0).mean()
        assert expected_gain(list(drawn), best, more) == pytest.approx(simulated, rel=0.05)
    assert expected_gain([1.0, 1.0, 1.0], best, 10) == 0


@pytest.mark.parametrize(
    ("metric", "before", "by_noise"),
    [("val_loss", 2.0, 0.1), ("val_loss", 0.2, 0.01), ("map", 0.9, 0.008), ("map", 0.3, 0.008), ("f1", 0.1, 0.021)],
)
def test_noise_is_a_share_of_a_loss_and_a_difference_of_map_and_f1(metric, before, by_noise):
    for gain, ends in ((0.8 * by_noise, True), (1.2 * by_noise, False)):
        bests = [before, *[before - gain] * 20]
        assert (verdict("20", bests, [], [], 5, 10, metric) is not None) == ends
    assert set(SCALES) == set(METRICS)


def test_it_says_what_another_seed_would_have_moved():
    found = [str(verdict("20", [0.5] * 21, [], [], 5, 10, metric)) for metric in METRICS]
    assert found[0].startswith("20 epochs have lowered the loss by less than the 4.7% that another seed moves it;")
    assert found[1].startswith("20 epochs have lowered 1 - mAP by less than the 0.008 that another seed moves it;")
    assert "1 - max F1 by less than the 0.021" in found[2]


def test_few_draws_say_nothing():
    alike = [1.0 + 0.001 * index for index in range(LEAST_DRAWN)]
    assert verdict(AUTO, alike, alike, alike[1:], 5, LEAST_DRAWN) is None
    assert verdict(AUTO, alike, alike, alike, 5, LEAST_DRAWN) is not None


@pytest.mark.parametrize("given", ["0", "-3", "soon", "1.5"])
def test_what_is_no_patience_is_refused(given):
    with pytest.raises(OptionsError, match="--patience-epochs: auto, or a whole number of epochs from 1 on, got"):
        Options("staged", None, "m", 16, 24, 4, storage="runs", name="n", patience_epochs=given)


def test_a_loss_of_nothing_is_no_reason_to_break():
    nothing = [1.0, *[0.0] * 30]
    assert verdict("20", nothing, [], [], 5, 10) is not None
    assert verdict(AUTO, nothing, [0.0] * LEAST_DRAWN, [0.0] * LEAST_DRAWN, 5, 10) is not None
