import json
import logging
import os
import subprocess
import sys
import threading
import time
import uuid

import pytest

from search.run_folder import owner
from search.run_folder.owner import Owner, OwnerError
from tests.s3 import BUSY
from trainable.storage.remote import Remote


@pytest.fixture
def folder(s3):
    return Remote(s3.uri(f"bucket/{uuid.uuid4().hex}/owner"))


@pytest.fixture(autouse=True)
def settled_soon(monkeypatch):
    monkeypatch.setattr(owner, "SETTLE_SECONDS", 0.3)


def claim_of(folder, **others):
    """A claim as another search would write it, somewhere else unless told otherwise."""
    folder.write(f"{uuid.uuid4().hex}.json", json.dumps({"host": "far", "pid": 1, "processes": None} | others).encode())


def test_a_second_search_is_refused_and_told_by_whom(folder):
    with Owner(folder), pytest.raises(OwnerError, match=r"another search, process \d+ on .*, is writing this run"):
        Owner(folder).__enter__()


def test_a_run_is_free_when_its_search_is_over(folder):
    with Owner(folder):
        assert len(folder.names()) == 1
    with Owner(folder) as second:
        second.check()
    assert folder.names() == []


def test_a_refused_search_leaves_the_first_one_alone(folder):
    with Owner(folder) as first:
        for _ in range(2):
            with pytest.raises(OwnerError):
                Owner(folder).__enter__()
        first.check()
        assert len(folder.names()) == 1


@pytest.mark.parametrize("starters", [2, 5])
def test_of_searches_that_start_at_once_one_goes_on(folder, starters, monkeypatch):
    monkeypatch.setattr(owner, "SETTLE_SECONDS", 30)
    start, refused = threading.Barrier(starters), threading.Semaphore(0)
    holders, went_on = [], []

    def search():
        start.wait()
        try:
            with Owner(folder) as mine:
                holders.append(mine)
                for _ in range(starters - 1):
                    refused.acquire()
                mine.check()
                went_on.append(mine)
        except OwnerError:
            refused.release()

    threads = [threading.Thread(target=search, daemon=True) for _ in range(starters)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(holders) == len(went_on) == 1


@pytest.mark.parametrize("waited_for", [True, False])
def test_a_killed_search_of_this_machine_is_succeeded_at_once(folder, waited_for):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | (0 if waited_for else os.WNOWAIT))
    claim_of(folder, pid=ended.pid, processes=owner._processes())
    with Owner(folder):
        assert len(folder.names()) == 1


def test_a_silent_search_of_another_machine_is_succeeded_after_a_while(folder, monkeypatch):
    claim_of(folder)
    with pytest.raises(OwnerError, match=r"process 1 on far, .* If it was killed, the run is free in 1\d\d s"):
        Owner(folder).__enter__()
    monkeypatch.setattr(owner, "STALE_SECONDS", -1)
    with Owner(folder):
        assert len(folder.names()) == 1


def test_a_living_search_keeps_its_claim_fresh(folder, s3, monkeypatch):
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.05)
    with Owner(folder) as first:
        s3.requests.clear()
        while sum(request.startswith("PUT") for request in s3.requests) < 3:
            first.check()


def test_a_search_that_was_given_up_notices_it(folder, s3, monkeypatch):
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.05)
    with Owner(folder) as first:
        # Between two beats, of which none comes through meanwhile: one that had begun would claim the run again.
        s3.failure = BUSY
        s3.requests.clear()
        while len(s3.requests) < 2:
            time.sleep(0.01)
        s3.delete("bucket", f"{folder.uri.partition('?')[0].removeprefix('s3://bucket/')}/{first._claim}")
        s3.failure = None
        first._heart.join()
        claim_of(folder)
        with pytest.raises(OwnerError, match="another one may have taken the run over"):
            first.check()
    assert len(folder.names()) == 1


def test_a_search_that_stood_still_for_long_does_not_go_on(folder, monkeypatch):
    with Owner(folder) as first:
        now = owner._now()
        monkeypatch.setattr(owner, "_now", lambda: now + owner.FENCE_SECONDS + 1)
        with pytest.raises(OwnerError, match="stood still"):
            first.check()


def test_an_outage_shorter_than_the_fence_costs_nothing(folder, s3, monkeypatch):
    monkeypatch.setattr(owner, "BEAT_SECONDS", 0.05)
    with Owner(folder) as first:
        s3.failure = BUSY
        s3.requests.clear()
        while len(s3.requests) < 3:
            first.check()
        s3.failure = None
        s3.requests.clear()
        while not any(request.startswith("PUT") for request in s3.requests):
            first.check()


def test_an_outage_at_the_end_is_only_said(folder, s3, caplog):
    caplog.set_level(logging.WARNING)
    with Owner(folder):
        s3.failure = BUSY
    assert "the run stays claimed" in caplog.text


@pytest.mark.parametrize("name", ["notes.txt", ".DS_Store", "claim.json", "desktop/thumbs.db"])
def test_a_file_that_is_no_claim_is_said_and_left_alone(folder, caplog, name):
    folder.write(name, b"\x00\xff")
    with Owner(folder) as mine:
        mine.check()
    shown = name.partition("/")[0]
    assert caplog.messages == [f"{folder}/{shown}: is no claim of a search, and is left alone"]
    assert folder.read(name) == b"\x00\xff"


DAMAGES = [b"", b"{", b"\xff\xfe", b"[]", b'{"host": "far"}', b'{"host": "far", "pid": "1", "processes": null}']


@pytest.mark.parametrize("data", DAMAGES, ids=repr)
def test_a_damaged_claim_holds_until_it_is_stale_as_its_search_may_live(folder, monkeypatch, data):
    folder.write(f"{uuid.uuid4().hex}.json", data)
    with pytest.raises(OwnerError, match=r"on an unknown machine \(its claim is damaged\), is writing"):
        Owner(folder).__enter__()
    monkeypatch.setattr(owner, "STALE_SECONDS", -1)
    with Owner(folder):
        assert len(folder.names()) == 1
