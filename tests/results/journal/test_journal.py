"""The journal survives a crash at any byte, is written by one process, and tells the trials' story."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from results.journal.events import Asked, Ended, Event, JournalError, to_dict
from results.journal.journal import Journal, TrialRecord, best_trial, read_journal, trial_records
from tests.made_up import events_of, made_up_row

Plain = dict[str, Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def append(path: Path, events: list[Event]) -> bytes:
    journal = Journal(path)
    for event in events:
        journal.append(event)
    journal.close()
    return path.read_bytes()


def write(path: Path, plain: list[Plain]) -> bytes:
    return append(path, events_of(plain))


def test_what_is_appended_is_read_back_by_others_at_once(path, events):
    journal = Journal(path)
    (event,) = events_of(events[:1])
    journal.append(event)
    assert read_journal(path) == journal.events == [event]


def test_a_line_of_the_file_is_its_event_to_the_last_byte(path, events):
    lines = write(path, events).decode().splitlines()
    assert [json.loads(line) for line in lines] == list(map(to_dict, events_of(events)))
    assert lines[3] == (
        '{"event": "reported", "trial": 1, "metrics": {"epoch": 1, "stage": 0, "train_loss": 5.1, "val_loss": 5.0, '
        '"val_loss_ce": 2.5, "val_loss_bbox": 0.625, "val_loss_giou": 1.25, "learning_rate": 0.0001, "precision": 0.1, '
        '"recall": 0.2, "f1": 0.15, "seconds": 10.0, "final": false, "within_epoch": [], '
        '"node": "worker-1", "pid": 4242}, "time": 1767268811.0}'
    )


def test_an_event_that_nobody_could_read_is_not_written(path, events):
    (event,) = events_of(events[:1])
    journal = Journal(path)
    with pytest.raises(JournalError, match=r"trial 0 cannot be written: parameters: an object of printable names"):
        journal.append(dataclasses.replace(event, parameters={"a\nb": 1}))
    assert (journal.events, path.read_bytes()) == ([], b"")


def test_every_number_comes_back_bit_for_bit(path, events):
    events[2]["metrics"] |= {"val_loss": 5e-324, "f1": 0.1 + 0.2}
    write(path, events[:3])
    row = read_journal(path)[2].metrics
    assert (row.val_loss, row.f1) == (5e-324, 0.1 + 0.2)


def test_a_write_cut_at_any_byte_loses_only_its_own_event(path):
    start = Asked(0, {}, None, True, 1.0)
    events = [start, *(Ended(0, "FAILED", "größer", float(seconds)) for seconds in range(2, 5))]
    whole = append(path, events[:3])
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        complete = events[: sum(end <= cut for end in ends)]
        assert read_journal(path) == complete
        lines = [json.dumps(to_dict(event)).encode() + b"\n" for event in [*complete, events[3]]]
        assert append(path, [events[3]]) == b"".join(lines)


def test_reading_a_journal_leaves_a_half_written_line_to_its_writer(path, events):
    write(path, events[:1])
    with path.open("ab") as file:
        file.write(b'{"event": "rep')
    assert read_journal(path) == events_of(events[:1])
    assert path.read_bytes().endswith(b'{"event": "rep')


def test_a_damaged_line_in_the_middle_is_named(path, events):
    lines = write(path, events[:3]).split(b"\n")
    path.write_bytes(b"\n".join([lines[0], b"\x00\x00", *lines[2:]]))
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2: is not JSON"):
        Journal(path)


@pytest.mark.parametrize(
    ("line", "change", "message"),
    [
        (1, {"event": "began"}, "event: one of asked, reported, paused, promoted, ended, got 'began'"),
        (1, {"recipe": {"stages": []}}, r"recipe\.stages: a list of at least one stage, got \[\]"),
        (2, {"trial": 0}, "trial 0 is asked for a second time"),
        (3, {"trial": 7}, "trial 7 has reported before it was asked for"),
        (3, {"metrics": {"epoch": 1}}, r"metrics\.stage: is missing"),
        (3, {"time": None}, "time: should be a valid number, got None"),
        (7, {"status": "DONE"}, "status: should be 'COMPLETED', 'PRUNED' or 'FAILED', got 'DONE'"),
    ],
)
def test_an_event_that_cannot_be_is_named_and_neither_written_on_nor_cut_off(path, events, line, change, message):
    events[line - 1] = events[line - 1] | change
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + '{"torn')
    before = path.read_bytes()
    with pytest.raises(
        JournalError, match=rf"journal\.jsonl, line {line}: {message}; .* cut the journal off before it"
    ):
        Journal(path)
    with pytest.raises(JournalError, match=rf"journal\.jsonl, line {line}: {message}"):
        read_journal(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ({"epoch": 2**70}, "metrics.epoch: should be less than 9223372036854775808, got 1180591620717411303424"),
        ({"val_loss": float("nan")}, "metrics.val_loss: should be a finite number, got nan"),
        ({"val_loss": 10**400}, "metrics.val_loss: should be a valid number, got 1000"),
        ({"val_loss": True}, "metrics.val_loss: should be a valid number, got True"),
        ({"stage": 3}, "trial 0 reports stage 3 and has 3, counted from 0"),
        ({"within_epoch": [3]}, r"metrics.within_epoch\[0\]: should be a mapping of fields, got 3"),
        ({"more": [1]}, r"metrics.others.more: a number, a printable text, a truth value or null, got \[1\]"),
        ({"more": 2**63}, "metrics.others.more: a number, a printable text, .* got 9223372036854775808"),
        ({"seconds": 1e12}, "metrics.seconds: should be less than 253402300800, got 1000000000000.0"),
    ],
)
def test_metrics_that_no_trial_reports_are_named(events, metrics, message):
    events[2]["metrics"] |= metrics
    with pytest.raises(JournalError, match=rf"journal\.jsonl, line 3: .*{message}"):
        events_of(events)


def test_a_recipe_of_an_older_version_has_the_defaults_of_what_came_later(events):
    whole = events_of(events)[0]
    del events[0]["recipe"]["max_grad_norm"]
    assert events_of(events)[0] == whole


def test_what_another_version_measured_is_kept_and_written_again(path, events):
    within = {"epoch": 0.5, "stage": 0, "val_loss": 3.0, "precision": 0.5, "recall": 0.5, "f1": 0.5, "seconds": 5.0}
    events[2]["metrics"] |= {"speed": 0.25, "within_epoch": [within | {"speed": 0.125}]}
    write(path, events[:3])
    row = read_journal(path)[2].metrics
    assert (row.others, row.within_epoch[0].others["speed"]) == ({"speed": 0.25}, 0.125)
    assert json.loads(path.read_bytes().splitlines()[2])["metrics"]["speed"] == 0.25


def test_an_error_keeps_its_lines_and_loses_what_would_steer_a_terminal(events):
    events[8]["error"] = "cannot read \udcff\x1b[2J.png\n  in mine.py, größer"
    assert trial_records(events_of(events))[2].error == "cannot read \\udcff\\x1b[2J.png\n  in mine.py, größer"


def test_epochs_that_do_not_go_up_are_named(events):
    events[4]["metrics"]["epoch"] = 1
    with pytest.raises(JournalError, match="line 5: trial 0 reports epoch 1 after epoch 1"):
        events_of(events)


@pytest.mark.parametrize("line", ["[" * 100_000, "3", "[]", '{"event": ["asked"]}', "9" * 5000])
def test_json_that_is_no_event_is_named(path, line):
    path.write_text(line + "\n")
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 1: "):
        read_journal(path)


def test_a_damaged_line_is_named_by_its_place_in_the_whole_of_a_long_journal(path, events, monkeypatch):
    monkeypatch.setattr("results.journal.journal.BLOCK_BYTES", 200)
    lines = write(path, events).splitlines(keepends=True)
    assert read_journal(path) == events_of(events)
    path.write_bytes(b"".join([*lines[:-2], b"{}, {}\n", lines[-1]]))
    with pytest.raises(JournalError, match=rf"line {len(lines) - 1}: is not JSON"):
        read_journal(path)


def test_a_second_writer_is_refused_until_the_first_has_closed(path, events):
    first = Journal(path)
    with pytest.raises(JournalError, match="another search is writing this run"):
        Journal(path)
    (event,) = events_of(events[:1])
    first.append(event)
    first.close()
    assert Journal(path).events == [event]


def test_a_missing_journal_is_no_run_folder(path):
    with pytest.raises(JournalError, match="this is no run folder"):
        read_journal(path)


def test_trials_are_told_in_the_order_of_their_numbers(records):
    assert [(record.number, record.status) for record in records] == [
        (0, "COMPLETED"),
        (1, "PRUNED"),
        (2, "FAILED"),
        (3, "RUNNING"),
        (4, "FAILED"),
    ]
    assert [record.reference for record in records] == [True, False, False, False, False]
    assert [row.epoch for row in records[0].history] == [1, 2, 3]
    assert [time - records[0].asked for time in records[0].reported] == [10, 20, 30]
    assert records[2].error and records[2].error.startswith("space mine raised")
    assert records[3].ended is None


def test_an_epochs_own_loss_counts_as_best_and_not_one_within_it(records):
    assert records[0].best and records[0].best.val_loss == 0.1 + 0.2
    assert records[2].best is None


def test_the_best_trial_did_not_fail_however_low_its_loss(records):
    assert best_trial(records) is records[0]
    assert best_trial(records[2:]) is records[3], "one that still runs counts"
    assert best_trial(record for record in records if record.status == "FAILED") is None


def test_of_equal_losses_the_earliest_trial_and_epoch_are_best():
    trials = [TrialRecord(number, {}, None, False, 0.0) for number in range(2)]
    for record in trials:
        record.history = [made_up_row(epoch, 1.0) for epoch in (1, 2)]
    best = best_trial(trials)
    assert best is trials[0] and best.best == made_up_row(1, 1.0)


def test_the_best_epoch_follows_a_history_that_grows():
    record = TrialRecord(0, {}, None, False, 0.0)
    bests = []
    for epoch, loss in enumerate([3.0, 2.0, 4.0, 1.0], start=1):
        record.history.append(made_up_row(epoch, loss))
        bests.append(record.best and record.best.epoch)
    assert bests == [1, 2, 2, 4]


def test_no_events_are_no_trials():
    assert trial_records([]) == []
