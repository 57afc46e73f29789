import errno
import io
import os
import time
import uuid
from pathlib import Path
from threading import Timer

import pytest

from tests.s3 import BUSY, FORBIDDEN
from trainable.storage.remote import Remote, StorageError, is_uri


@pytest.fixture(params=["s3", "file"])
def remote(request, s3, tmp_path):
    """A folder that does not exist yet, with what must be quoted in its name."""
    uri = s3.uri("bucket") if request.param == "s3" else tmp_path.as_uri()
    return Remote(uri).at(f"runs/50% of {uuid.uuid4().hex}? #1")


@pytest.fixture
def on_s3(s3):
    return Remote(s3.uri(f"bucket/{uuid.uuid4().hex}"))


def test_what_is_written_is_read(remote):
    remote.write("a/deep/file", b"one")
    remote.write("a/deep/file", b"two")
    remote.write("empty", b"")
    assert remote.read("a/deep/file") == b"two"
    assert remote.read("empty") == b""


def test_a_folder_within_is_the_same_place(remote):
    remote.at("a b").at("c").write("file", b"one")
    assert remote.read("a b/c/file") == b"one"
    assert remote.at("a b/c").names() == ["file"]


def test_what_is_not_there_is_none(remote, tmp_path):
    assert remote.read("file") is None
    assert remote.written("file") is None
    assert not remote.download("file", tmp_path / "file")
    assert remote.names() == remote.files() == remote.files("file") == []
    remote.drop("file")


def test_names_are_of_one_folder_and_files_of_all_below(remote):
    for name in ("b", "a/1", "a/deep/2"):
        remote.write(name, b"")
    assert remote.names() == ["a", "b"]
    assert remote.names("a") == ["1", "deep"]
    assert remote.files() == ["a/1", "a/deep/2", "b"]
    assert remote.files("a") == ["1", "deep/2"]
    assert remote.files("b") == [""]


def test_a_folder_is_dropped_with_what_it_holds(remote):
    for name in ("a/1", "a/deep/2", "ab"):
        remote.write(name, b"")
    remote.drop("a")
    assert remote.files() == ["ab"]
    remote.drop("ab")
    assert remote.files() == []


def test_files_of_more_than_one_part_arrive_whole(remote, tmp_path):
    data = os.urandom(12_000_000)
    (tmp_path / "source").write_bytes(data)
    remote.upload(tmp_path / "source", "a/file")
    assert remote.download("a/file", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == data


def test_the_time_of_writing_is_the_storages(remote):
    remote.write("file", b"")
    assert abs(remote.written("file") - time.time()) < 5


def test_a_local_file_that_is_missing_is_no_fault_of_the_storage(remote, tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        remote.upload(tmp_path / "missing", "file")


def test_a_half_written_file_is_not_seen(tmp_path, monkeypatch):
    class BreaksOff(io.BytesIO):
        def read(self, size):
            if self.tell():
                raise KeyboardInterrupt
            return super().read(2)

    remote = Remote((tmp_path / "remote").as_uri())
    remote.write("file", b"old")
    (tmp_path / "source").write_bytes(b"half")
    monkeypatch.setattr(Path, "open", lambda *args: BreaksOff(b"half"))
    with pytest.raises(KeyboardInterrupt):
        remote.upload(tmp_path / "source", "file")
    assert remote.names() == remote.files() == ["file"]
    assert remote.read("file") == b"old"


@pytest.mark.parametrize("size", [5, 40_000_000], ids=["one part", "three parts"])
def test_an_upload_that_fails_is_noticed_also_where_a_file_of_its_size_is_there(on_s3, s3, tmp_path, size):
    (tmp_path / "source").write_bytes(b"1" * size)
    on_s3.upload(tmp_path / "source", "file")
    (tmp_path / "source").write_bytes(b"2" * size)
    s3.failure, s3.spared = FORBIDDEN, ("HEAD", "GET", "POST")
    with pytest.raises(StorageError, match="cannot be used"):
        on_s3.upload(tmp_path / "source", "file")
    s3.failure = None
    assert on_s3.read("file") == b"1" * size


def test_a_small_object_takes_one_request(on_s3, s3):
    on_s3.write("file", b"small")
    assert len(s3.requests) == 1


def test_an_outage_is_waited_for_and_said_once(on_s3, s3, caplog):
    s3.failure = BUSY
    Timer(1.0, setattr, (s3, "failure", None)).start()
    on_s3.write("file", b"late")
    assert len(s3.requests) >= 3
    assert on_s3.read("file") == b"late"
    (line,) = caplog.messages
    assert line.startswith(f"{on_s3}/file: cannot be reached and is tried again for 120 s:")


def test_a_server_that_is_started_again_is_waited_for(on_s3, s3):
    on_s3.write("file", b"kept")
    s3.stop()
    Timer(1.0, s3.start).start()
    assert on_s3.read("file") == b"kept"


def test_waits_grow_until_the_time_is_over(on_s3, s3, monkeypatch):
    waits = []
    now = [0.0]
    monkeypatch.setattr("trainable.storage.remote.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "trainable.storage.remote.time.sleep", lambda s: (waits.append(s), now.__setitem__(0, now[0] + s))
    )
    s3.failure = BUSY
    with pytest.raises(StorageError, match=r"file: cannot be reached for \d+ s: .*"):
        on_s3.read("file")
    assert waits[:7] == [0.5, 1, 2, 4, 8, 15, 15]
    assert 105 <= sum(waits) <= 120


@pytest.mark.parametrize("failure", [FORBIDDEN, (403, "InvalidAccessKeyId"), (403, "SignatureDoesNotMatch")])
def test_refused_credentials_are_an_error_at_once(on_s3, s3, failure):
    s3.failure = failure
    with pytest.raises(StorageError, match="file: cannot be used"):
        on_s3.write("file", b"")
    with pytest.raises(StorageError, match="file: cannot be used"):
        on_s3.read("file")
    with pytest.raises(StorageError, match="cannot be used"):
        on_s3.names()


def test_a_bucket_that_does_not_exist_is_an_error_at_once(s3):
    with pytest.raises(StorageError, match=r"s3://nowhere/runs/file: cannot be used: .*bucket does not exist"):
        Remote(s3.uri("nowhere/runs")).write("file", b"")


@pytest.mark.parametrize("uri", ["nfs://server/folder", "s3://bucket/runs?regoin=us-east-1"])
def test_a_uri_that_is_wrong_is_an_error_at_once(uri):
    with pytest.raises(StorageError, match="cannot be used"):
        Remote(uri).names()


def test_a_full_disk_is_not_waited_for(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("trainable.storage.remote._written_whole", full)
    (tmp_path / "source").write_bytes(b"1")
    with pytest.raises(StorageError, match="No space left"):
        Remote(tmp_path.as_uri()).upload(tmp_path / "source", "target")


def test_credentials_are_not_shown():
    remote = Remote("s3://key:secret@bucket/runs/a%20b?region=us-east-1")
    assert str(remote) == "s3://bucket/runs/a b"
    assert str(remote.at("c")) == "s3://bucket/runs/a b/c"


def test_uris_are_told_from_folders():
    assert is_uri("s3://bucket/runs") and is_uri("file:///runs")
    assert not is_uri("runs") and not is_uri("/runs")


def test_a_number_sign_in_a_folders_name_is_part_of_it(tmp_path):
    folder = Remote(f"{tmp_path.as_uri()}/runs#1")
    folder.at("one").write("file", b"1")
    assert folder.at("one").names() == ["file"] and folder.at("two").names() == []
    assert (tmp_path / "runs#1" / "one" / "file").exists() and folder.name == "runs#1"


def test_what_is_said_of_an_error_has_no_secrets(caplog):
    with pytest.raises(StorageError) as refused:
        Remote("s3://KEY:SE'CRET@buc ket/runs?secret_key=MINE").read("file")
    assert "cannot be used" in str(refused.value) and not refused.value.__cause__
    assert not any(secret in str(refused.value) for secret in ("KEY", "CRET", "MINE"))


def test_the_name_is_that_of_the_folder(remote):
    assert remote.at("a b?").name == "a b?"
