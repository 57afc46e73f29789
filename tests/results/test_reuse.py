"""What sharing saved: epochs and time, counted once for every trial that did not have to train them."""

import pytest

from results.journal.journal import TrialRecord, trial_records
from results.reuse import reuse
from tests.made_up import events_of, made_up_row


def trial(number: int, *epochs: tuple[float, str | None]) -> TrialRecord:
    """A trial from its epochs: the seconds that it had trained after each, and who trained it (None: itself)."""
    history = [
        made_up_row(epoch, 1.0, seconds=seconds, shared_from=source)
        for epoch, (seconds, source) in enumerate(epochs, start=1)
    ]
    return TrialRecord(number, {}, None, number == 0, 0.0, "COMPLETED", history, [0.0] * len(history))


def test_time_saved_is_what_the_same_epochs_took_where_they_were_trained():
    trained = trial(3, (10.0, None), (25.0, None), (65.0, None))
    total = reuse([trained, trial(4, (0.0, "0003"), (0.0, "0003"), (50.0, None))])
    assert (total.reported, total.reused, total.trained) == (6, 2, 4)
    assert total.seconds_saved == 25.0


def test_what_several_trials_took_over_is_saved_several_times():
    trained = trial(3, (10.0, None), (25.0, None))
    total = reuse([trained, trial(4, (0.0, "0003")), trial(5, (0.0, "0003"), (0.0, "0003"))])
    assert (total.reused, total.seconds_saved) == (3, 35.0)


def test_an_epoch_costs_only_the_trial_that_trained_it_however_it_is_passed_on():
    first = trial(0, (10.0, None))
    second = trial(1, (0.0, "0000"), (7.0, None))
    assert reuse([first, second, trial(2, (0.0, "0000"), (0.0, "0001"))]).seconds_saved == pytest.approx(10 + 10 + 7)


def test_epochs_of_a_trial_that_is_not_there_count_but_save_no_time():
    total = reuse([trial(4, (0.0, "0003"))])
    assert (total.reused, total.seconds_saved) == (1, 0.0)


def test_journals_older_than_sharing_have_reused_nothing(events):
    assert not any("shared_from" in event.get("metrics", ()) for event in events)
    total = reuse(trial_records(events_of(events)))
    assert (total.trained, total.reused) == (7, 0)
