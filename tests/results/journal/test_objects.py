import json
import threading
import time
import uuid

import pytest

from results.journal.events import Asked, Ended, JournalError, Reported, to_dict
from results.journal.journal import Journal, read_journal
from results.journal.objects import JournalObjects, read_objects
from tests.made_up import made_up_row
from tests.s3 import BUSY
from trainable.recipe import reference
from trainable.storage.remote import Remote, StorageError


@pytest.fixture
def folder(s3):
    return Remote(s3.uri(f"bucket/{uuid.uuid4().hex}/journal"), retry_seconds=1)


def event(number):
    if number == 0:
        return Asked(0, {}, reference(3), True, 0.0)
    return Reported(0, made_up_row(number, 1 / (number + 1)), float(number))


EVENTS = [event(number) for number in range(20)]


def filled(folder, events=EVENTS):
    journal = JournalObjects(folder)
    for each in events:
        journal.append(each)
    journal.close()


def test_a_journal_that_is_not_there_is_empty(folder):
    assert JournalObjects(folder).events == read_objects(folder) == []


def test_events_are_read_back_in_order_and_to_the_last_digit(folder):
    filled(folder)
    assert read_objects(folder) == JournalObjects(folder).events == EVENTS


def test_an_event_that_was_waited_for_is_there(folder):
    journal = JournalObjects(folder)
    journal.append(event(0), wait=False)
    journal.append(event(1))
    assert read_objects(folder) == EVENTS[:2]
    journal.close()


def test_a_journal_goes_on_where_it_ended(folder):
    filled(folder, EVENTS[:3])
    journal = JournalObjects(folder)
    journal.append(event(3))
    journal.close()
    assert folder.names() == ["00000000.json", "00000001.json", "00000002.json", "00000003.json"]
    assert read_objects(folder) == EVENTS[:4]


def test_events_that_come_while_one_is_sent_go_together(folder, monkeypatch):
    let_go = threading.Event()
    write = Remote.write
    monkeypatch.setattr(Remote, "write", lambda *args: (let_go.wait(), write(*args)))
    journal = JournalObjects(folder)
    for each in EVENTS:
        journal.append(each, wait=False)
    let_go.set()
    journal.close()
    assert len(folder.names()) <= 2
    assert read_objects(folder) == EVENTS


@pytest.mark.parametrize("number", [0, 7])
def test_an_object_that_is_missing_is_noticed(folder, number):
    filled(folder)
    folder.drop(f"{number:08d}.json")
    with pytest.raises(JournalError, match=rf"{number + 1:08d}.json: .* followed by {number:08d}.json"):
        JournalObjects(folder)


def test_an_object_of_a_second_writer_is_noticed(folder):
    filled(folder, EVENTS[:2])
    folder.write("00000000.json", json.dumps(list(map(to_dict, EVENTS[:3]))).encode())
    with pytest.raises(JournalError, match="two searches"):
        read_objects(folder)


@pytest.mark.parametrize("keep", [0, 1, 40, -1])
def test_a_torn_object_is_noticed_also_as_the_last(folder, keep):
    filled(folder)
    whole = folder.read("00000019.json")
    folder.write("00000019.json", whole[:keep])
    with pytest.raises(JournalError, match=r"journal/00000019.json: is damaged"):
        read_objects(folder)


@pytest.mark.parametrize("text", ["{}", "[]", "3"])
def test_an_object_of_something_else_is_noticed(folder, text):
    folder.write("00000000.json", text.encode())
    with pytest.raises(JournalError, match="no list of events"):
        read_objects(folder)


def test_other_files_beside_the_objects_are_left_out(folder):
    filled(folder, EVENTS[:2])
    folder.write("notes.txt", b"mine")
    assert read_objects(folder) == EVENTS[:2]


def test_after_an_event_that_could_not_be_sent_none_is_taken_until_the_search_is_resumed(folder, s3):
    journal = JournalObjects(folder)
    journal.append(event(0))
    s3.failure = BUSY
    with pytest.raises(StorageError, match=r"journal/00000001.json: cannot be reached"):
        journal.append(event(1))
    s3.failure = None
    with pytest.raises(StorageError):
        journal.append(event(2))
    assert read_objects(folder) == EVENTS[:1]
    assert JournalObjects(folder).events == EVENTS[:1]


def test_a_failure_nobody_waited_for_is_raised_later(folder, s3):
    journal = JournalObjects(folder)
    s3.failure = BUSY
    journal.append(event(0), wait=False)
    with pytest.raises(StorageError, match="cannot be reached"):
        journal.close()


ASKED = event(0)
ENDED = Ended(0, "FAILED", None, 2.0)


class TestJournalOfARun:
    def test_it_is_in_the_storage_and_a_copy_of_it_in_the_file(self, folder, tmp_path):
        journal = Journal(tmp_path / "journal.jsonl", JournalObjects(folder))
        for each in (ASKED, ENDED):
            journal.append(each)
        journal.close()
        assert read_objects(folder) == read_journal(tmp_path / "journal.jsonl") == [ASKED, ENDED]

    def test_what_the_storage_says_holds_against_the_file(self, folder, tmp_path):
        filled(folder, [ASKED])
        path = tmp_path / "journal.jsonl"
        path.write_text(f"{json.dumps(to_dict(ASKED))}\n{json.dumps(to_dict(ENDED))}\n{{'of another run")
        journal = Journal(path, JournalObjects(folder))
        assert journal.events == read_journal(path) == [ASKED]
        journal.append(ENDED)
        journal.close()
        assert read_objects(folder) == read_journal(path) == [ASKED, ENDED]

    def test_an_event_that_cannot_be_is_named_with_the_storage(self, folder, tmp_path):
        filled(folder, [ENDED])
        with pytest.raises(JournalError, match=rf"{folder}, line 1: trial 0 has ended before it was asked for"):
            Journal(tmp_path / "journal.jsonl", JournalObjects(folder))

    def test_reports_are_not_waited_for_and_all_else_is(self, folder, tmp_path, s3):
        journal = Journal(tmp_path / "journal.jsonl", JournalObjects(folder))
        journal.append(ASKED)
        s3.failure = BUSY
        started = time.monotonic()
        journal.append(event(1))
        assert time.monotonic() - started < 0.5
        with pytest.raises(StorageError, match="cannot be reached"):
            journal.append(ENDED)
        assert journal.events == read_journal(tmp_path / "journal.jsonl") == [ASKED, event(1)]
        journal.close()
