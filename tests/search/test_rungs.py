"""Who goes on at a rung: as Ray's own ASHA where trials stop, and by ASHA as published where they wait."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

from results.journal.events import Asked, Ended, Paused, Promoted, Reported
from search.rungs import Promotion, Rungs, Stopping
from tests.made_up import made_up_row


def report(rungs: Rungs, number: int, epoch: int, val_loss: float) -> bool:
    """Whether the trial goes on; where it is to be promoted on the spot, it is."""
    rungs.take_in(Reported(number, made_up_row(epoch, val_loss), 0.0))
    if not rungs.ends(number, epoch):
        return True
    if not rungs.goes_on(number):
        return False
    rungs.take_in(Promoted(number, 0.0))
    return True


def pause(rungs: Rungs, number: int, epoch: int, val_loss: float) -> None:
    assert not report(rungs, number, epoch, val_loss)
    rungs.take_in(Paused(number, 0.0))


@pytest.fixture(params=[Stopping, Promotion])
def rungs(request) -> Rungs:
    """Rungs at epochs 2, 6 and 18, of either kind."""
    return request.param(grace=2, max_epochs=24, reduction=3)


@pytest.fixture
def promotion() -> Promotion:
    return Promotion(grace=2, max_epochs=24, reduction=3)


def test_the_reference_goes_on_whatever_its_losses(rungs):
    for number in (1, 2, 3):
        report(rungs, number, 2, 1.0)
    assert all(report(rungs, 0, epoch, 100.0) for epoch in range(1, 25))


def test_other_trials_are_compared_to_the_reference(rungs):
    assert report(rungs, 0, 2, 1.0)
    assert not report(rungs, 1, 2, 1.1)


def test_trials_are_compared_at_rungs_only(rungs):
    report(rungs, 0, 2, 1.0)
    assert report(rungs, 1, 1, 50.0)
    for number in (1, 2, 3):
        report(rungs, number, 2, 0.9 - number / 10)
    assert [report(rungs, 3, epoch, 50.0) for epoch in (3, 4, 5)] == [True] * 3


@pytest.mark.parametrize("kind", [Stopping, Promotion])
def test_reaching_the_budget_is_no_rung(kind):
    assert kind(grace=24, max_epochs=24, reduction=3).epochs == ()
    assert kind(grace=2, max_epochs=18, reduction=3).epochs == (2, 6)
    assert kind(grace=3, max_epochs=24, reduction=2.5).epochs == (3, 8, 19)


def decisions(losses: np.ndarray, order: list[int], goes_on) -> dict[int, int]:
    """Epochs of each trial, one after the other in turns by `order`."""
    epochs = dict.fromkeys(range(len(losses)), 0)
    stopped: set[int] = set()
    for number in order:
        if number not in stopped and epochs[number] < losses.shape[1]:
            epochs[number] += 1
            if not goes_on(number, epochs[number], losses[number, epochs[number] - 1]):
                stopped.add(number)
    return epochs


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("grace", "reduction"), [(2, 3), (1, 2), (3, 2.5)])
def test_stopping_stops_whom_rays_own_asha_stops(seed, grace, reduction):
    source = np.random.default_rng(seed)
    # With ties, and a loss that is no number; a reference that is never stopped, which Ray has not, loses to none.
    losses = source.integers(1, 9, (20, 24)) / 4
    losses[3, 1] = np.nan
    losses[0] = 0.0
    order = random.Random(seed).choices(range(20), k=600)
    ray = AsyncHyperBandScheduler("epoch", "val_loss", "min", max_t=24, grace_period=grace, reduction_factor=reduction)
    trials = [SimpleNamespace(trial_id=str(number)) for number in range(20)]
    for trial in trials:
        ray.on_trial_add(None, trial)

    def rays(number, epoch, loss):
        decision = ray.on_trial_result(None, trials[number], {"epoch": epoch, "val_loss": loss})
        return decision == TrialScheduler.CONTINUE or epoch == 24

    ours = Stopping(grace, 24, reduction)
    assert decisions(losses, order, rays) == decisions(losses, order, lambda *each: report(ours, *each))


def test_a_trial_is_promoted_once_enough_worse_ones_have_come(promotion):
    pause(promotion, 1, 2, 3.0)
    pause(promotion, 2, 2, 4.0)
    assert promotion.next() is None
    pause(promotion, 3, 2, 5.0)
    assert promotion.next() == 1


def test_a_trial_that_is_the_best_when_it_comes_goes_on_at_once(promotion):
    pause(promotion, 1, 2, 3.0)
    pause(promotion, 2, 2, 4.0)
    assert report(promotion, 3, 2, 1.0)


def test_no_more_are_promoted_than_one_in_so_many_though_better_ones_come(promotion):
    losses = iter(np.linspace(9, 1, 30))
    went_on = [number for number in range(1, 31) if report(promotion, number, 2, next(losses))]
    assert len(went_on) == 10, "each was the best so far"


def test_trials_are_compared_by_the_lowest_loss_that_they_have_had(promotion):
    report(promotion, 1, 1, 0.5)
    pause(promotion, 1, 2, 9.0)
    for number in (2, 3):
        pause(promotion, number, 2, 1.0)
    assert promotion.next() == 1


def test_by_another_metric_the_highest_goes_on():
    promotion = Promotion(grace=2, max_epochs=24, reduction=2, equals_go_on=True)
    for number, found in ((1, 0.5), (2, 0.75)):
        promotion.take_in(Reported(number, made_up_row(2, 1.0, map=found), 0.0))
    assert (promotion.goes_on(1), promotion.goes_on(2)) == (False, True)


@pytest.mark.parametrize(("equals_go_on", "next_ones"), [(False, [1]), (True, [1, 2, 4])])
def test_equals_go_on_together_where_they_are_asked_to(equals_go_on, next_ones):
    promotion = Promotion(grace=2, max_epochs=24, reduction=4, equals_go_on=equals_go_on)
    for number, loss in ((1, 1.0), (2, 1.0), (3, 2.0), (4, 1.0)):
        promotion.take_in(Asked(number, {}, None, False, 0.0))
        promotion.take_in(Reported(number, made_up_row(2, loss), 0.0))
        promotion.take_in(Paused(number, 0.0))
    went_on = []
    while (number := promotion.next()) is not None:
        went_on.append(number)
        promotion.take_in(Promoted(number, 0.0))
    assert went_on == next_ones


def test_the_higher_rung_comes_first(promotion):
    for number in range(1, 10):
        pause(promotion, number, 2, float(number))
    for best in (1, 2, 3):
        assert promotion.next() == best
        promotion.take_in(Promoted(best, 0.0))
        pause(promotion, best, 6, float(best))
    for number in (10, 11, 12):
        pause(promotion, number, 2, float(number))
    assert promotion.next() == 1
    promotion.take_in(Promoted(1, 0.0))
    assert promotion.next() == 4


def test_when_no_new_ones_come_the_best_of_all_goes_on(promotion):
    pause(promotion, 1, 2, 3.0)
    pause(promotion, 2, 2, 4.0)
    assert promotion.next() is None and promotion.last() == 1
    promotion.take_in(Promoted(1, 0.0))
    pause(promotion, 1, 6, 2.0)
    assert promotion.last() == 1, "at each rung anew, to the end"
    promotion.take_in(Promoted(1, 0.0))
    report(promotion, 1, 7, 1.0)
    promotion.take_in(Ended(1, "COMPLETED", None, 0.0))
    assert promotion.last() is None


class TestFillingIn:
    """Rungs at epochs 2, 6 and 18 of 24; no new trials come."""

    @pytest.fixture
    def waiting(self, promotion):
        """Trial 1 is the best, and at its end; 2 to 5 wait, the best first, of which none is to be promoted."""
        ask(promotion, 1)
        for number in (2, 3, 4, 5):
            pause(promotion, number, 2, float(number))
        assert report(promotion, 1, 2, 1.0)
        promotion.take_in(Ended(1, "COMPLETED", None, 0.0))
        assert promotion.next() is None and promotion.last() is None
        return promotion

    def test_while_another_is_trained_for_as_long_the_best_that_wait_go_on(self, waiting):
        ask(waiting, 0)  # The reference, which trains on to the end.
        assert waiting.last() == 2
        waiting.take_in(Promoted(2, 0.0))
        assert waiting.last() == 3
        report(waiting, 0, 20, 9.0)
        assert waiting.last() == 3, "4 epochs each"
        report(waiting, 0, 21, 9.0)
        assert waiting.last() is None, "the reference would be waited for no more"

    def test_one_that_may_have_to_wait_itself_is_trained_to_its_rung_only(self, waiting):
        ask(waiting, 6)
        assert waiting.last() is None, "2 epochs are left until its rung"
        for epoch in (1, 2):
            waiting.take_in(Reported(6, made_up_row(epoch, 9.0), 0.0))
        assert waiting.last() == 2, "it has gone on, and has 4 epochs left until the next one"

    def test_nobody_goes_on_since_others_do_that_fill_in(self, waiting):
        ask(waiting, 0)
        waiting.take_in(Promoted(2, 0.0))
        waiting.take_in(Ended(0, "COMPLETED", None, 0.0))
        assert waiting.last() is None
        pause(waiting, 2, 6, 1.5)
        assert waiting.last() is None

    def test_alone_nobody_does(self, waiting):
        assert waiting.last() is None


def ask(rungs: Rungs, number: int) -> None:
    rungs.take_in(Asked(number, {}, None, number == 0, 0.0))


def test_a_trial_that_failed_is_not_waited_for(promotion):
    pause(promotion, 1, 2, 3.0)
    report(promotion, 2, 1, 1.0)
    promotion.take_in(Ended(2, "FAILED", "out of memory", 0.0))
    assert promotion.last() == 1


def test_a_trial_that_was_pruned_when_a_search_ended_may_be_promoted_when_it_is_extended(promotion):
    pause(promotion, 1, 2, 3.0)
    promotion.take_in(Ended(1, "PRUNED", None, 0.0))
    for number in (2, 3):
        pause(promotion, number, 2, 4.0)
    assert promotion.next() == 1
