"""Stores of records: whoever fills, shares, damages or drops them."""

import itertools
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import threading
from functools import partial

import pytest

from trainable.storage.disk_cache import open_disk_cache

SIZES = {"b": 300, "a": 1000, "c": 1}
BYTES = sum(SIZES.values()) + 4 * len(SIZES)
PLENTY = 10**9


def content(key, name):
    return f"{key}{name}".encode().ljust(SIZES[name], b".")[: SIZES[name]]


class Maker:
    """Makes the records of a key, and notes which."""

    def __init__(self, key):
        self.key = key
        self.made = []

    def __call__(self, name):
        self.made.append(name)
        return content(self.key, name)


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def opened(cache):
    """Opens the store of a key; `make` is a `Maker` unless told."""

    def open_(key, cache_bytes=PLENTY, make=None, kind="things", threads=None):
        return open_disk_cache(kind, key, SIZES, make or Maker(key), cache_bytes, cache, threads)

    return open_


def names(cache):
    return sorted(path.name for path in cache.glob("*/*"))


class TestFilling:
    @pytest.mark.parametrize("threads", [None, 1])
    def test_each_record_is_made_once_whoever_opens_the_store(self, cache, opened, threads):
        make = Maker("k")
        for _ in range(2):
            store = opened("k", make=make, threads=threads)
            assert all(store[name] == content("k", name) for name in SIZES)
        assert sorted(make.made) == sorted(SIZES)
        assert store.path == cache / "things" / "k.records"
        assert store.path.stat().st_size == store.bytes == BYTES

    def test_a_name_that_it_was_not_opened_for_is_refused(self, opened):
        with pytest.raises(KeyError):
            opened("k")["z"]

    def test_one_thread_is_the_callers_own(self, opened):
        threads = set()
        opened("k", make=lambda name: threads.add(threading.current_thread()) or content("k", name), threads=1)
        assert threads == {threading.current_thread()}

    @pytest.mark.parametrize("threads", [None, 1])
    def test_what_make_raises_is_raised_and_no_file_is_left(self, cache, opened, threads):
        def make(name):
            raise ValueError(f"no {name}")

        with pytest.raises(ValueError, match="no a") as still_alive:
            opened("k", make=make, threads=threads)
        assert names(cache) == []
        # Whoever failed, and all that its traceback holds on to, is in nobody's way.
        assert opened("k")["a"] == content("k", "a") and still_alive.tb

    def test_other_stores_are_filled_at_the_same_time(self, opened):
        reached, go_on = threading.Event(), threading.Event()

        def slow(name):
            reached.set()
            go_on.wait(timeout=30)
            return content("slow", name)

        slow_one = threading.Thread(target=opened, args=("slow", PLENTY, slow))
        slow_one.start()
        assert reached.wait(timeout=30)
        assert opened("fast")["a"] == content("fast", "a")
        go_on.set()
        slow_one.join(timeout=30)
        make = Maker("slow")
        assert opened("slow", make=make)["b"] == content("slow", "b") and not make.made

    def test_who_waits_for_a_process_that_is_killed_fills_it_instead(self, cache, opened):
        context = multiprocessing.get_context("fork")
        reached = context.Event()
        killed = context.Process(target=opened, args=("k", PLENTY, partial(_say_and_hang, reached)))
        killed.start()
        assert reached.wait(timeout=30)
        assert names(cache) == ["k.unfinished"]
        threading.Timer(0.3, os.kill, (killed.pid, signal.SIGKILL)).start()
        make = Maker("k")
        store = opened("k", make=make)
        killed.join(timeout=30)
        assert sorted(make.made) == sorted(SIZES) and store["a"] == content("k", "a")
        assert names(cache) == ["k.records"]

    def test_what_was_left_unfinished_is_cleared_away(self, cache, opened):
        opened("old").path.rename(cache / "things" / "old.unfinished")
        opened("new")
        assert names(cache) == ["new.records"]

    def test_it_goes_to_another_process_by_pickle(self, opened):
        store = opened("k")
        copy = pickle.loads(pickle.dumps(store))
        assert copy["a"] == content("k", "a")
        pickled = pickle.dumps(store)
        store.path.unlink()
        with pytest.raises(FileNotFoundError, match=r"k\.records: it was dropped from the cache; start"):
            pickle.loads(pickled)


class TestDamage:
    @pytest.mark.parametrize("offset", [10, -1])
    def test_a_damaged_record_is_made_anew_and_said_so(self, opened, caplog, offset):
        store = opened("k", make=(make := Maker("k")))
        whole = store.path.read_bytes()
        damaged = bytearray(whole)
        damaged[offset] ^= 1
        store.path.write_bytes(damaged)
        make.made.clear()
        assert all(store[name] == content("k", name) for name in SIZES)
        assert len(make.made) == 1 and f"is damaged at {make.made[0]}" in caplog.text
        assert store.path.read_bytes() == whole

    def test_a_file_cut_short_under_an_open_store_is_noticed(self, opened):
        store = opened("k")
        whole = store.path.read_bytes()
        os.truncate(store.path, 100)
        assert all(store[name] == content("k", name) for name in SIZES)
        assert store.path.read_bytes() == whole

    def test_a_file_cut_short_is_made_anew_when_it_is_opened(self, opened, caplog):
        path = opened("k").path
        whole = path.read_bytes()
        os.truncate(path, len(whole) - 1)
        opened("k", make=(make := Maker("k")))
        assert path.read_bytes() == whole and sorted(make.made) == sorted(SIZES)
        assert "is damaged and is made anew" in caplog.text


class TestRoom:
    def test_no_cache_is_no_store_and_no_folder(self, cache, opened, caplog):
        assert opened("k", cache_bytes=0) is None
        assert not cache.exists() and not caplog.text

    def test_the_least_recently_used_store_of_any_kind_is_dropped_for_a_new_one(self, opened):
        paths = []
        for age, (key, kind) in ((200, ("first", "things")), (100, ("second", "others"))):
            store = opened(key, kind=kind)
            paths.append(store.path)
            os.utime(store.path, (store.path.stat().st_atime - age,) * 2)
        del store
        opened("first")  # now the second is the one that was used longest ago
        newest = opened("third", 2 * BYTES)
        assert [path.exists() for path in (*paths, newest.path)] == [True, False, True]

    def test_a_store_in_use_is_not_dropped(self, opened, caplog):
        in_use = opened("first", kind="others")
        assert opened("second", BYTES + 1) is None
        assert "GB in use, --cache-size allows" in caplog.text and in_use.path.exists()
        del in_use
        assert opened("second", BYTES + 1)

    def test_a_store_that_is_being_filled_takes_its_room_from_the_start(self, opened):
        rooms = []

        def make(name):
            rooms.append(opened("second", 2 * BYTES - 1))
            return content("first", name)

        assert opened("first", 2 * BYTES - 1, make, threads=1) and rooms == [None] * len(SIZES)

    def test_records_larger_than_the_cache_are_not_kept_and_drop_nothing(self, opened, caplog):
        path = opened("k").path
        assert opened("other", BYTES - 1) is None
        (line,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert line.message.startswith(
            "things are not cached, every trial makes its own: they take 1.31e-06 GB, --cache"
        )
        assert path.exists()
        assert opened("k", BYTES - 1) is None, "it is there, but more than is allowed"

    def test_a_full_disk_is_said(self, opened, monkeypatch, caplog):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
        assert opened("k") is None
        assert "the disk of" in caplog.text and "has 1e-08 GB left" in caplog.text

    def test_a_folder_that_cannot_be_used_is_said(self, cache, opened, caplog):
        cache.write_text("not a folder")
        assert opened("k") is None
        assert "things are not cached" in caplog.text and str(cache) in caplog.text


def test_many_processes_with_little_room_always_read_what_is_theirs(cache, opened):
    """Stores of six keys come and go in a cache that holds three of them."""
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_come_and_go, args=(opened, shift)) for shift in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=60)
    assert [worker.exitcode for worker in workers] == [0] * len(workers)
    assert len(names(cache)) <= 3


def _come_and_go(opened, shift):
    for key in itertools.islice(itertools.cycle("abcdef"), shift, shift + 60):
        store = opened(key, 3 * BYTES)
        if store:
            assert all(store[name] == content(key, name) for name in SIZES)
        del store


def _say_and_hang(reached, name):
    reached.set()
    threading.Event().wait(timeout=60)
