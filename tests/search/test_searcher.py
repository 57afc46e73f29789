"""Trials are handed out once, and the study hears the truth about how each ended."""

import errno
from collections.abc import Sequence

import pytest
from optuna.trial import TrialState

from results.journal.events import to_dict
from search.searcher import MAX_CRASHES, StudySearcher
from spaces.registry import Space
from trainable.recipe import Recipe, Stage
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote


def event_kinds(search) -> list[tuple[int, str]]:
    return [(event.trial, event.kind) for event in search.journal.events]


def test_a_trial_is_given_its_number_recipe_and_folder(search, tmp_path):
    started = search()
    config = started.searcher.suggest("live")
    assert config["number"] == 0 and config["failure"] is None
    assert config["recipe"] == started.study.records[0].recipe
    assert config["folder"] == str(tmp_path / "trials" / "0000")


def test_a_trial_that_reported_its_final_epoch_is_completed(search, report):
    started = search()
    trial = started.start_trial()
    started.searcher.on_trial_result(trial.trial_id, report(1, 2.0))
    # Ray hands a trial's last report to `on_trial_complete`, and here a second time.
    started.searcher.on_trial_result(trial.trial_id, report(2, 3.0, final=True))
    started.searcher.on_trial_complete(trial.trial_id, report(2, 3.0, final=True))
    assert started.study.records[0].status == "COMPLETED" and len(started.study.records[0].history) == 2
    assert started.study.optuna.trials[0].value == 2.0


def test_a_trial_that_asha_stopped_is_pruned_with_its_last_value(search, report):
    started = search(pruning="stopping")
    reference, other = started.start_trial(), started.start_trial()
    started.scheduler.on_trial_result(None, reference, report(2, 1.0))
    started.searcher.on_trial_result(other.trial_id, report(1, 9.0))
    assert started.scheduler.on_trial_result(None, other, report(2, 8.0)) == "STOP"
    started.searcher.on_trial_complete(other.trial_id, report(2, 8.0))
    assert started.study.records[1].status == "PRUNED"
    trial = started.study.optuna.trials[1]
    assert trial.state == TrialState.PRUNED and trial.intermediate_values == {1: 9.0, 2: 8.0}


def in_turn(losses: Sequence[float]):
    """Losses of trials in the order in which they first report, a little lower in each epoch."""
    order: dict[str, float] = {}

    def loss(recipe, epoch):
        if str(recipe) not in order:
            order[str(recipe)] = losses[len(order)]
        return order[str(recipe)] + 1 / (10 * epoch)

    return loss


def test_a_trial_waits_at_a_rung_and_goes_on_from_there_when_it_is_among_the_best(search):
    started = search(losses=in_turn([5.0, 3.0, 4.0, 6.0, 7.0]))
    started.searcher.trials = 5
    handed = []
    for _ in range(6):
        trial_id = started.run_trial()
        handed.append((started.searcher.numbers[trial_id], [len(r.history) for r in started.study.records.values()]))
    # One of two goes on past epochs 2 and 4; the reference does anyway.
    assert handed[:3] == [(0, [8]), (1, [8, 8]), (2, [8, 8, 2])]
    assert [number for number, _ in handed[3:]] == [3, 2, 4]
    assert event_kinds(started).count((2, "paused")) == 2 and (2, "promoted") in event_kinds(started)


def test_a_promoted_trial_is_told_what_it_has_reported(search):
    started = search()
    configs, suggest = [], started.searcher.suggest
    started.searcher.suggest = lambda trial_id: configs.append(suggest(trial_id)) or configs[-1]
    started.run(32)
    again = [config for config in configs if config["reported"]]
    assert again and all([row.epoch for row in config["reported"]][-1] in (2, 4) for config in again)


def test_the_best_of_a_search_has_been_trained_to_its_end_and_so_has_the_reference(search):
    records = search().run(12).study.records
    best = min(records.values(), key=lambda record: record.objective)
    assert best.status == records[0].status == "COMPLETED" and best.number
    assert {record.status for record in records.values()} == {"COMPLETED", "PRUNED"}


def test_trials_that_wait_are_pruned_when_the_search_ends_and_may_go_on_when_it_is_extended(search):
    first = search(losses=in_turn(range(5, 9))).run(4)
    assert [record.status for record in first.study.records.values()] == ["COMPLETED", "PRUNED", "PRUNED", "PRUNED"]
    first.journal.close()
    extended = search(losses=in_turn(range(9, 20))).run(12)
    went_on = {event.trial for event in extended.journal.events if event.kind == "promoted"}
    assert 1 in went_on and len(extended.study.records[1].history) > 2


def test_only_so_many_of_the_trials_that_wait_keep_what_they_go_on_from(search):
    started = search(losses=in_turn(range(5, 14)))
    started.searcher.keep, started.searcher.trials = 2, 9
    folders = [started.searcher.folder / f"{number:04d}" for number in range(9)]
    for folder in folders:
        for name in ("progress.json", "recipe.yaml", "weights/epoch-0002.safetensors", "stage-0/checkpoint-1/x"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("")
    started.fit()
    waiting = started.study.paused
    whole = [record.number for record in waiting if (folders[record.number] / "progress.json").exists()]
    assert len(whole) == 2 and min(waiting, key=lambda record: record.objective).number in whole
    assert {tuple(path.name for path in folders[r.number].iterdir()) for r in waiting if r.number not in whole} == {
        ("recipe.yaml",)
    }


def test_a_trial_whose_process_dies_behind_a_rung_is_not_asked_to_wait_there_again(search):
    started = search()
    started.searcher.trials = 2
    started.run_trial()
    started.run_trial(epochs=3)
    kinds = [kind for trial, kind in event_kinds(started) if trial == 1]
    started.run_trial()
    more = [kind for trial, kind in event_kinds(started) if trial == 1][len(kinds) :]
    assert kinds.count("reported") == 3 and more[0] == "reported"


def test_a_trial_stopped_at_its_own_last_epoch_is_completed(search, report):
    started = search()
    reference, other = started.start_trial(), started.start_trial()
    started.scheduler.on_trial_result(None, reference, report(2, 1.0))
    assert started.scheduler.on_trial_result(None, other, report(2, 8.0, final=True)) == "CONTINUE"
    started.searcher.on_trial_complete(other.trial_id, report(2, 8.0, final=True))
    assert started.study.records[1].status == "COMPLETED"


def test_a_failure_is_kept_with_its_message(search, report):
    started = search()
    trial = started.start_trial()
    started.searcher.on_trial_result(trial.trial_id, report(1, 2.0))
    failure = {"failure": "FloatingPointError: val_loss is nan", "trial": 0, "node": "worker", "pid": 1}
    started.searcher.on_trial_result(trial.trial_id, failure)
    started.searcher.on_trial_complete(trial.trial_id, failure)
    record = started.study.records[0]
    assert (record.status, record.error) == ("FAILED", "FloatingPointError: val_loss is nan")
    assert started.study.optuna.trials[0].state == TrialState.FAIL


def test_a_space_that_raised_fails_its_trial_once(search):
    def build(trial, max_epochs):
        if trial.number:
            raise ValueError("nothing fits")
        return Recipe((Stage("all", ("decoder",), max_epochs, 1e-4),))

    started = search(Space("mine", "", build, lambda max_epochs: None))
    started.run(2)
    assert started.study.records[1].error == "space mine raised ValueError: nothing fits"
    assert event_kinds(started)[-2:] == [(1, "asked"), (1, "ended")]


@pytest.mark.parametrize("epochs", [0, 3])
def test_a_trial_whose_process_dies_three_times_without_a_new_evaluation_fails_before_another_begins(search, epochs):
    said = []
    started = search()
    for death in range(1, MAX_CRASHES + 1):
        assert started.study.unfinished == [] or started.study.unfinished[0].number == 0
        started.searcher.say = said.append
        started.run_trial(epochs)
        assert started.study.records[0].status == ("FAILED" if death == MAX_CRASHES else "RUNNING")
        started.searcher = started.scheduler.searcher = StudySearcher(
            started.study, started.searcher.folder, crashes=started.searcher.crashes
        )
    assert started.study.records[0].error == f"its process died {MAX_CRASHES} times without a new evaluation in between"
    assert said == [f"trial 0: its process died after epoch {epochs}; it goes on from there"] * (MAX_CRASHES - 1)
    assert len(started.study.records[0].history) == epochs
    assert started.searcher.suggest("next")["number"] == 1
    kinds = [kind for kind in event_kinds(started) if kind[1] != "reported"]
    assert kinds == [(0, "asked"), (0, "ended"), (1, "asked")]


def test_a_new_evaluation_makes_up_for_the_deaths_before_it(search):
    started = search()
    for epochs in (0, 0, 1, 1, 2, 2, 3):
        started.run_trial(epochs)
        assert [record.status for record in started.study.records.values()] == ["RUNNING"]
    started.run_trial()
    assert started.study.records[0].status == "COMPLETED"
    epochs = [event.metrics.epoch for event in started.journal.events if event.kind == "reported"]
    assert epochs == list(range(1, 9))


def test_a_trial_whose_process_died_is_said_and_is_the_next_to_run(search):
    said = []
    started = search()
    started.searcher.say = said.append
    first, second = started.start_trial(), started.start_trial()
    started.searcher.on_trial_complete(second.trial_id, error=True)
    started.searcher.on_trial_complete(first.trial_id, error=True)
    assert said[0] == "trial 1: its process died after epoch 0; it goes on from there"
    assert [started.searcher.suggest(f"again-{number}")["number"] for number in range(3)] == [0, 1, 2]


def test_no_more_trials_are_handed_out_than_were_asked_for(search):
    started = search()
    started.searcher.trials = 2
    trials = [started.start_trial(), started.start_trial()]
    assert started.searcher.suggest("third") is None, "one of the two may die and come again"
    started.searcher.on_trial_complete(trials[1].trial_id, error=True)
    assert started.searcher.suggest("again")["number"] == 1
    assert started.searcher.suggest("third") is None
    started.searcher.alive = False
    assert started.searcher.suggest("third") == StudySearcher.FINISHED


def test_a_trial_that_never_reported_does_no_harm(search):
    started = search()
    started.searcher.on_trial_complete(started.start_trial().trial_id)
    started.searcher.on_trial_complete(started.start_trial().trial_id, {})
    assert started.study.records[0].status == "RUNNING"


def test_unfinished_trials_come_first_and_new_ones_after(search):
    broken = search()
    broken.run_trial()
    broken.run_trial(epochs=1)
    broken.start_trial()
    broken.journal.close()
    resumed = search()
    numbers = [resumed.searcher.suggest(f"live-{index}")["number"] for index in range(3)]
    assert numbers == [1, 2, 3]


@pytest.mark.parametrize(("loss", "final", "status"), [(9.0, False, "PAUSED"), (0.1, True, "COMPLETED")])
def test_an_end_that_a_crash_kept_from_the_journal_is_written_on_resuming(search, row, report, loss, final, status):
    broken = search()
    for number, losses in enumerate(([1.0, 1.0], [loss, loss])):
        trial = broken.start_trial()
        for epoch, value in enumerate(losses, start=1):
            broken.scheduler.on_trial_result(None, trial, report(epoch, value, final=final and epoch == 2))
            broken.study.report(number, row(epoch, value, final=final and epoch == 2))
    broken.journal.close()
    resumed = search()
    assert resumed.study.records[1].status == status
    assert event_kinds(resumed)[-1] == (1, "paused" if status == "PAUSED" else "ended")
    assert resumed.searcher.suggest("live")["number"] == (2 if resumed.study.records[0].status != "RUNNING" else 0)


def test_the_weights_of_the_best_trials_alone_are_kept(search):
    started = search()
    started.searcher.keep = 2
    folders = [started.searcher.folder / f"{number:04d}" / "weights" for number in range(5)]
    for folder in folders:
        folder.mkdir(parents=True)
    started.run(5)
    ranked = sorted(started.study.finished, key=lambda record: record.objective)
    assert [folders[record.number].exists() for record in ranked] == [True, True, False, False, False]


def test_what_is_dropped_goes_from_a_remote_storage_too(search, tmp_path):
    started = search()
    started.searcher.keep = 2
    started.searcher.mirror = Mirror(Remote((tmp_path / "storage").as_uri()), tmp_path)
    stored = [tmp_path / "storage" / "trials" / f"{number:04d}" for number in range(5)]
    for folder in stored:
        for name in ("progress.json", "weights/epoch-0001.safetensors", "stage-0/checkpoint-1/model.safetensors"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("")
    started.run(5)
    ranked = sorted(started.study.finished, key=lambda record: record.objective)
    left = [{path.name for path in stored[record.number].iterdir()} for record in ranked]
    assert left[:2] == [{"progress.json", "weights"}] * 2
    assert all(names <= {"progress.json"} for names in left[2:])


def test_what_a_trial_has_to_say_reaches_the_user(search, report):
    said = []
    started = search()
    started.searcher.say = said.append
    trial = started.start_trial()
    started.searcher.on_trial_result(trial.trial_id, report(1, 2.0, notes=["no room for images"]))
    assert said == ["no room for images"]
    assert "notes" not in to_dict(started.journal.events[-1])["metrics"]


def test_a_trial_that_cannot_reach_its_storage_pauses_the_search_and_is_not_a_failure(search, report):
    started = search()
    trial = started.start_trial()
    started.searcher.on_trial_result(trial.trial_id, report(1, 3.0))
    started.searcher.on_trial_complete(trial.trial_id, {"pause": "s3://bucket/runs: cannot be reached"})
    assert started.searcher.pause == "s3://bucket/runs: cannot be reached"
    assert started.study.records[0].status == "RUNNING"
    assert started.searcher.suggest("next") == StudySearcher.FINISHED, "nothing is begun while the search pauses"
    assert started.searcher.crashes == {}


def test_a_journal_that_gives_out_pauses_the_search_with_no_gap_in_it(search, report, monkeypatch):
    started = search()
    trial = started.start_trial()
    append = started.journal.append

    def give_out(event):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(started.journal, "append", give_out)
    started.searcher.on_trial_result(trial.trial_id, report(1, 3.0))
    monkeypatch.setattr(started.journal, "append", append)
    started.searcher.on_trial_result(trial.trial_id, report(2, 2.0))
    started.searcher.on_trial_complete(trial.trial_id, report(3, 1.0, final=True))
    assert started.searcher.pause.endswith("journal.jsonl: No space left on device")
    assert [event.kind for event in started.journal.events] == ["asked"], "epochs 2 and 3 are reported on resuming"
