"""ASHA compares the reference and never stops it, at equal epochs, live and replayed alike."""

from types import SimpleNamespace

import pytest
from ray.tune.schedulers import TrialScheduler

from results.journal.events import Asked, Ended, Reported
from search.scheduler import FairASHA
from tests.made_up import made_up_row

CONTINUE, STOP = TrialScheduler.CONTINUE, TrialScheduler.STOP


def start(asha: FairASHA, number: int, round_: int = 1):
    trial = SimpleNamespace(trial_id=f"live-{number}-{round_}", config={"number": number})
    asha.on_trial_add(None, trial)
    return trial


def report(asha: FairASHA, trial, epoch: int, val_loss: float) -> str:
    return asha.on_trial_result(None, trial, {"epoch": epoch, "val_loss": val_loss})


@pytest.fixture
def asha() -> FairASHA:
    """Rungs at epochs 2, 6 and 18."""
    return FairASHA(grace=2, max_epochs=24, reduction=3)


def test_the_reference_is_never_stopped(asha):
    good = [start(asha, number) for number in (1, 2, 3)]
    for trial in good:
        report(asha, trial, 2, 1.0)
    reference = start(asha, 0)
    assert {report(asha, reference, epoch, 100.0) for epoch in range(1, 25)} == {CONTINUE}
    assert asha.stopped == set()


def test_other_trials_are_compared_to_the_reference(asha):
    report(asha, start(asha, 0), 2, 1.0)
    assert report(asha, start(asha, 1), 2, 1.1) == STOP
    assert report(asha, start(asha, 2), 2, 0.9) == CONTINUE
    assert asha.stopped == {1}


def test_trials_are_compared_at_equal_epochs_only(asha):
    report(asha, start(asha, 0), 2, 1.0)
    late = start(asha, 1)
    assert report(asha, late, 1, 50.0) == CONTINUE
    assert report(asha, late, 2, 0.5) == CONTINUE
    assert [report(asha, late, epoch, 50.0) for epoch in (3, 4, 5)] == [CONTINUE] * 3
    report(asha, reference := start(asha, 0), 6, 0.9)
    assert reference and report(asha, late, 6, 50.0) == STOP


def test_no_trial_is_stopped_within_the_grace_period():
    asha = FairASHA(grace=5, max_epochs=24, reduction=3)
    reference, other = start(asha, 0), start(asha, 1)
    for epoch in range(1, 5):
        report(asha, reference, epoch, 1.0)
        assert report(asha, other, epoch, 99.0) == CONTINUE
    report(asha, reference, 5, 1.0)
    assert report(asha, other, 5, 99.0) == STOP


def test_reaching_the_budget_is_no_stop():
    asha = FairASHA(grace=24, max_epochs=24, reduction=3)
    assert report(asha, start(asha, 1), 24, 1.0) == CONTINUE


def test_a_report_of_a_failure_is_let_through(asha):
    assert asha.on_trial_result(None, start(asha, 1), {"failure": "out of memory"}) == CONTINUE


def test_replayed_trials_get_the_decisions_of_live_ones(asha):
    losses = {number: 1 + (7 * number % 5) / 10 for number in range(8)}
    live, replayed = asha, FairASHA(grace=2, max_epochs=24, reduction=3)
    for number, loss in losses.items():
        trial = start(live, number)
        replayed.replay(Asked(number, {}, None, False, 0.0))
        for epoch in range(1, 8):
            decision = report(live, trial, epoch, loss / epoch)
            replayed.replay(Reported(number, made_up_row(epoch, loss / epoch), 0.0))
            if decision == STOP:
                replayed.replay(Ended(number, "PRUNED", None, 0.0))
                break
    assert live.stopped and replayed.stopped == live.stopped
    assert live.debug_string() == replayed.debug_string()


def test_an_adopted_trial_is_not_compared_with_itself(asha):
    asha.replay(Asked(1, {}, None, False, 0.0))
    asha.replay(Reported(1, made_up_row(2, 1.0), 0.0))
    cutoffs = asha.debug_string()
    live = start(asha, 1)
    asha.rename_trial(1, live.trial_id)
    # Started anew, it reports its history again; a little worse, it would be stopped by its own first report.
    assert report(asha, live, 2, 1.0001) == CONTINUE
    assert asha.debug_string() == cutoffs
    assert report(asha, start(asha, 2), 2, 1.1) == STOP


def test_a_trial_that_is_sent_round_again_counts_once(asha):
    first = start(asha, 1)
    asha.rename_trial(1, first.trial_id)
    report(asha, first, 2, 1.0)
    cutoffs = asha.debug_string()
    second = start(asha, 1, round_=2)
    asha.rename_trial(1, second.trial_id)
    assert report(asha, second, 2, 1.0001) == CONTINUE
    assert asha.debug_string() == cutoffs
