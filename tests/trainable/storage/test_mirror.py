import pickle
import uuid

import pytest

from tests.s3 import BUSY
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote, StorageError


@pytest.fixture(params=["s3", "file"])
def remote(request, s3, tmp_path):
    return Remote(s3.uri(f"bucket/{uuid.uuid4().hex}") if request.param == "s3" else (tmp_path / "remote").as_uri())


@pytest.fixture
def mirror(remote, tmp_path):
    return Mirror(remote, tmp_path / "run")


@pytest.fixture
def elsewhere(remote, tmp_path):
    """The same run on another machine."""
    return Mirror(remote, tmp_path / "other" / "run")


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def contents(folder):
    return {file.relative_to(folder).as_posix(): file.read_text() for file in folder.rglob("*") if file.is_file()}


def test_a_file_goes_there_and_comes_elsewhere(mirror, elsewhere):
    write(mirror.local / "trials/0007", progress="1")
    mirror.push(mirror.local / "trials/0007/progress")
    assert elsewhere.pull(elsewhere.local / "trials/0007/progress")
    assert contents(elsewhere.local) == {"trials/0007/progress": "1"}


def test_a_folder_goes_there_and_comes_elsewhere(mirror, elsewhere):
    write(mirror.local / "a", one="1")
    write(mirror.local / "a/deep", two="2", empty="")
    mirror.push(mirror.local / "a")
    assert elsewhere.pull(elsewhere.local / "a")
    assert contents(elsewhere.local) == {"a/one": "1", "a/deep/two": "2", "a/deep/empty": ""}


def test_the_whole_run_can_be_pushed_and_pulled(mirror, elsewhere):
    write(mirror.local, one="1")
    mirror.push(mirror.local)
    assert elsewhere.pull(elsewhere.local)
    assert contents(elsewhere.local) == {"one": "1"}


def test_a_pushed_folder_replaces_what_was_there(mirror, elsewhere):
    write(mirror.local / "a", kept="old", gone="1")
    mirror.push(mirror.local / "a")
    (mirror.local / "a/gone").unlink()
    write(mirror.local / "a", kept="new")
    mirror.push(mirror.local / "a")
    elsewhere.pull(elsewhere.local / "a")
    assert contents(elsewhere.local) == {"a/kept": "new"}


def test_a_pulled_folder_replaces_the_local_one(mirror, elsewhere):
    write(mirror.local / "a", one="new")
    mirror.push(mirror.local / "a")
    write(elsewhere.local / "a", one="old", two="local only")
    assert elsewhere.pull(elsewhere.local / "a")
    assert contents(elsewhere.local) == {"a/one": "new"}
    assert [path.name for path in elsewhere.local.iterdir()] == ["a"]


def test_what_the_storage_lacks_leaves_the_local_one_alone(mirror):
    write(mirror.local / "a", one="local only")
    assert not mirror.pull(mirror.local / "a")
    assert not mirror.pull(mirror.local / "b")
    assert contents(mirror.local) == {"a/one": "local only"}


def test_what_is_dropped_stays_here_and_goes_there(mirror, elsewhere):
    write(mirror.local / "a", one="1")
    write(mirror.local / "b", two="2")
    mirror.push(mirror.local)
    mirror.drop(mirror.local / "a")
    mirror.drop(mirror.local / "never there")
    assert mirror.names(mirror.local) == ["b"]
    assert contents(mirror.local) == {"a/one": "1", "b/two": "2"}


def test_a_folder_below_has_a_mirror_of_its_own(mirror, elsewhere):
    trial = mirror.at(mirror.local / "trials/0007")
    write(trial.local, one="1")
    trial.push(trial.local / "one")
    assert elsewhere.names(elsewhere.local / "trials/0007") == ["one"]


def test_it_travels_to_workers(mirror, elsewhere):
    write(mirror.local, one="1")
    pickle.loads(pickle.dumps(mirror)).push(mirror.local / "one")
    assert elsewhere.pull(elsewhere.local / "one")


def test_a_path_outside_the_folder_is_refused(mirror, tmp_path):
    with pytest.raises(ValueError, match="subpath"):
        mirror.pull(tmp_path)


def test_a_pull_that_breaks_off_leaves_the_local_one_and_no_rest(s3, tmp_path, monkeypatch):
    mirror = Mirror(Remote(s3.uri(f"bucket/{uuid.uuid4().hex}"), retry_seconds=0), tmp_path / "run")
    write(mirror.local / "a", one="1", two="2")
    mirror.push(mirror.local / "a")
    write(mirror.local / "a", one="local")
    download = Remote.download

    def breaks_off(self, path, target):
        if path == "a/two":
            s3.failure = BUSY
        return download(self, path, target)

    monkeypatch.setattr(Remote, "download", breaks_off)
    with pytest.raises(StorageError, match="a/two: cannot be reached"):
        mirror.pull(mirror.local / "a")
    assert contents(mirror.local) == {"a/one": "local", "a/two": "2"}


def test_the_last_name_is_pushed_last(s3, tmp_path):
    mirror = Mirror(Remote(s3.uri(f"bucket/{uuid.uuid4().hex}")), tmp_path / "run")
    write(mirror.local, b="", a="", c="")
    mirror.push(mirror.local)
    assert [request[-1] for request in s3.requests if request.startswith("PUT")] == ["a", "b", "c"]
