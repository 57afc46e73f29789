"""A data set in a bucket is copied once to a machine, whole, and anew where the bucket has changed."""

import os
import pickle
import shutil
import subprocess
import sys
import time
import uuid

import pytest

from tests.s3 import FORBIDDEN
from trainable.data.faults import Fault
from trainable.data.snapshot import _lock, take_snapshot
from trainable.storage.remote import Remote, StorageError
from trainable.storage.working_folder import UNUSED_SECONDS

PARTS = ("before", "labels")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The user's cache folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["s3", "file"])
def remote(request, s3, tmp_path):
    """A folder of three files that count and one that does not."""
    uri = s3.uri("bucket") if request.param == "s3" else (tmp_path / "remote").as_uri()
    return filled(Remote(uri).at(f"my pairs/{uuid.uuid4().hex}"))


@pytest.fixture
def on_s3(s3):
    return filled(Remote(s3.uri(f"bucket/{uuid.uuid4().hex}")))


def filled(remote):
    for name, data in {"before/a.png": b"AA", "before/yard/b.png": b"BB", "labels/a.txt": b""}.items():
        remote.write(name, data)
    remote.write("runs/one/search.yaml", b"not of the data set")
    return remote


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def downloads(s3):
    return [request for request in s3.requests if request.startswith("GET") and "." in request]


def test_the_files_that_count_are_copied(remote):
    said = []
    folder = take_snapshot(remote, PARTS).pull(said.append)
    assert contents(folder) == {"before/a.png": b"AA", "before/yard/b.png": b"BB", "labels/a.txt": b""}
    began, ended = said
    assert began.startswith(f"{remote}: pulling 3 files, 0.0 MB, into ") and ended.startswith(f"{remote}: pulled in ")


def test_what_is_here_is_not_fetched_again(on_s3, s3):
    folder = take_snapshot(on_s3, PARTS).pull()
    s3.requests.clear()
    said = []
    assert take_snapshot(on_s3, PARTS).pull(said.append) == folder
    assert not said and not downloads(s3)


def test_a_worker_that_has_a_copy_asks_the_storage_nothing(on_s3, s3):
    snapshot = take_snapshot(on_s3, PARTS)
    snapshot.pull()
    s3.failure = FORBIDDEN
    assert snapshot.here() == snapshot.local


def test_another_machine_pulls_its_own_copy(remote, tmp_path, monkeypatch):
    snapshot = take_snapshot(remote, PARTS)
    snapshot.pull()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    folder = snapshot.here()
    assert folder.is_relative_to(tmp_path / "other") and contents(folder) == contents(snapshot.local)


def test_a_changed_bucket_is_another_copy_that_shares_what_has_not_changed(on_s3, s3):
    before = take_snapshot(on_s3, PARTS)
    before.pull()
    on_s3.write("before/a.png", b"another")
    on_s3.drop("labels/a.txt")
    s3.requests.clear()
    after = take_snapshot(on_s3, PARTS).pull()
    assert contents(after) == {"before/a.png": b"another", "before/yard/b.png": b"BB"}
    assert contents(before.local)["before/a.png"] == b"AA"
    assert all("before/a.png" in request for request in downloads(s3))
    assert (after / "before/yard/b.png").samefile(before.local / "before/yard/b.png")


def test_what_does_not_count_changes_nothing(remote):
    before = take_snapshot(remote, PARTS)
    remote.write("runs/one/results.csv", b"")
    assert take_snapshot(remote, PARTS) == before


def test_a_pull_that_was_cut_off_goes_on_where_it_stood(on_s3, s3, monkeypatch):
    snapshot = take_snapshot(on_s3, PARTS)
    download = Remote.download

    def cut_off(remote, path, target):
        if path == "before/yard/b.png":
            target.write_bytes(b"B")
            raise StorageError("the network is gone")
        return download(remote, path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "download", cut_off)
        patch.setattr("trainable.data.snapshot.THREADS", 1)
        with pytest.raises(StorageError, match="the network is gone"):
            snapshot.pull()
    assert not snapshot.local.exists()
    s3.requests.clear()
    snapshot.pull()
    assert contents(snapshot.local) == {"before/a.png": b"AA", "before/yard/b.png": b"BB", "labels/a.txt": b""}
    assert not [request for request in downloads(s3) if "before/a.png" in request]


def test_what_a_killed_process_has_left_is_cleared_away(remote):
    snapshot = take_snapshot(remote, PARTS)
    left = snapshot.local.with_name("unfinished") / "before" / "half.unfinished"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert set(contents(snapshot.pull())) == {file.path for file in snapshot.files}


def test_a_long_pull_says_how_far_it_is(remote, monkeypatch):
    monkeypatch.setattr("trainable.data.snapshot.SAY_SECONDS", 0)
    said = []
    take_snapshot(remote, PARTS).pull(said.append)
    assert len(said) == 5 and said[1:-1] == [f"{remote}: 0.0 MB of 0.0 MB pulled"] * 3


def test_a_copy_of_which_a_file_is_gone_or_cut_short_is_mended(remote):
    snapshot = take_snapshot(remote, PARTS)
    whole = contents(snapshot.pull())
    (snapshot.local / "before/a.png").unlink()
    (snapshot.local / "before/yard/b.png").write_bytes(b"B")
    assert contents(take_snapshot(remote, PARTS).pull()) == whole


@pytest.mark.parametrize("change", ["another", None], ids=["another content", "deleted"])
def test_a_machine_that_comes_late_takes_nothing_that_has_changed(remote, change):
    snapshot = take_snapshot(remote, PARTS)
    remote.write("before/a.png", change.encode()) if change else remote.drop("before/a.png")
    with pytest.raises(StorageError, match=r"before/a.png has changed since the search listed the data"):
        snapshot.here()
    assert not snapshot.local.exists()


def test_a_file_that_comes_during_the_pull_is_noticed(remote):
    snapshot = take_snapshot(remote, PARTS)
    remote.write("before/c.png", b"CC")
    with pytest.raises(StorageError, match="a file has changed since the search listed the data"):
        snapshot.pull()


def test_of_processes_that_pull_at_once_one_fetches_and_all_have_it(on_s3, tmp_path):
    snapshot = take_snapshot(on_s3, PARTS)
    (tmp_path / "snapshot").write_bytes(pickle.dumps(snapshot))
    program = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb')).pull(print)"
    command = [sys.executable, "-c", program, str(tmp_path / "snapshot")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert "".join(outputs).count("pulling 3 files") == 1 and len(contents(snapshot.local)) == 3


def test_a_copy_that_nobody_has_used_for_long_is_deleted_and_one_in_use_is_not(remote):
    old, used = take_snapshot(remote, PARTS), take_snapshot(remote, ("before",))
    long_ago = time.time() - UNUSED_SECONDS - 60
    for snapshot in (old, used):
        snapshot.pull()
        os.utime(snapshot.local.parent / "lock", (long_ago, long_ago))
    _lock.cache_clear()  # As if the process that used them had ended.
    in_use = used.here()
    os.utime(in_use.parent / "lock", (long_ago, long_ago))
    take_snapshot(remote, ("labels",)).pull()
    assert not old.local.exists() and in_use.exists()


def test_a_name_that_leads_out_of_the_folder_is_refused(on_s3, s3):
    s3.put("bucket", f"{on_s3.name}/before/../../evil.png", b"evil")
    with pytest.raises(StorageError, match=r"the name of before/\.\./\.\./evil.png leads out of the folder"):
        take_snapshot(on_s3, PARTS)


def test_an_empty_folder_is_named(remote):
    with pytest.raises(StorageError, match=r"my pairs/.*/nothing: no data set is there: none of before, labels"):
        take_snapshot(remote.at("nothing"), PARTS)


def test_a_disk_without_room_is_named_before_anything_is_fetched(on_s3, s3, monkeypatch):
    snapshot = take_snapshot(on_s3, PARTS)
    s3.requests.clear()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(StorageError, match=r"0\.0 MB do not fit on the disk of .*XDG_CACHE_HOME"):
        snapshot.pull()
    assert not s3.requests


def test_a_cache_that_cannot_be_written_is_named(remote, cache):
    cache.write_text("no folder")
    with pytest.raises(StorageError, match=r"my pairs/.*: cannot be copied to .*Not a directory"):
        take_snapshot(remote, PARTS).pull()


def test_a_fault_names_the_file_in_the_storage(remote):
    snapshot = take_snapshot(remote, PARTS)
    (fault,) = snapshot.named([Fault("missing after", str(snapshot.local / "labels/a.txt"), None, "", "add it")])
    assert fault.file == f"{remote}/labels/a.txt"
