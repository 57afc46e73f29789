"""Where Ray cannot be started, that is said before it is tried, or something else is found."""

import os
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from search.cluster import ground
from search.cluster.cluster import ClusterError, connect
from search.cluster.ground import GroundError, check_python, provide_token, session_folder
from search.options import Options


@pytest.fixture
def place(monkeypatch):
    """A short folder as the only place where one of this user's own can be made, and the parent of the usual one."""
    folder = Path(tempfile.mkdtemp(prefix="g", dir="/tmp"))
    monkeypatch.setattr(ground, "ELSEWHERE", (str(folder),))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("path", ["/home/me/my env/bin/python", "/opt/$HOME/bin/python", "/opt/a&b/python"])
def test_a_python_that_a_shell_would_not_find_is_refused_with_the_cure(path):
    with pytest.raises(GroundError, match=r"Python is at .*a space or another character.*make the environment"):
        check_python(path)


def test_a_python_of_a_plain_path_is_taken():
    check_python("/opt/env-3.11_x/bin/python")


def test_the_usual_folder_is_taken_without_a_word(place):
    assert session_folder() == (place / "ray", None)


def test_another_users_folder_is_left_alone_for_one_of_ones_own(place, monkeypatch):
    (place / "ray").mkdir()
    monkeypatch.setattr(ground.os, "geteuid", lambda: 12345)
    monkeypatch.setattr(ground, "_is_private", lambda folder: folder == place / "ray-12345")
    monkeypatch.setattr(
        ground, "_unusable", lambda folder: None if "12345" in str(folder) else f"{folder} is another's"
    )
    assert session_folder() == (place / "ray-12345" / "r", f"{place}/ray is another's")


def test_whose_a_folder_is_decides_whether_it_is_used(place, monkeypatch):
    (place / "ray").mkdir()
    assert ground._unusable(place / "ray") is None
    monkeypatch.setattr(ground.os, "geteuid", lambda: 12345)
    assert ground._unusable(place / "ray") == f"{place}/ray (from RAY_TMPDIR) is another user's"


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_long_folder_of_a_batch_system_gives_way_to_a_short_private_one(place, monkeypatch, variable, tmp_path):
    long = tmp_path / ("job" * 20)
    monkeypatch.delenv("RAY_TMPDIR")
    monkeypatch.setenv(variable, str(long))
    folder, why = session_folder()
    assert folder == place / f"ray-{os.geteuid()}" / "r"
    assert why == f"the path of {long}/ray (from {variable}) is too long for a socket's"
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert session_folder()[0] == folder, "the next search takes it again"


def test_every_socket_of_a_folder_that_is_taken_can_be_bound(place):
    longest = place / ("x" * (ground._most_bytes() - len(str(place)) - 1))
    assert ground._unusable(longest) is None and "too long" in ground._unusable(Path(f"{longest}x"))
    path = longest / ground.LONGEST_SOCKET
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def test_a_file_in_the_place_of_the_folder_is_no_folder(place):
    (place / "ray").write_text("")
    folder, why = session_folder()
    assert folder.parent.name == f"ray-{os.geteuid()}" and "ray (from RAY_TMPDIR) cannot be written" in why


def test_a_folder_that_others_may_enter_or_that_is_a_link_is_not_private(place):
    open_to_all, link, private = place / "open", place / "link", place / "private"
    open_to_all.mkdir()
    open_to_all.chmod(0o755)
    link.symlink_to(open_to_all)
    assert [ground._is_private(folder) for folder in (open_to_all, link, private)] == [False, False, True]


def test_where_no_folder_is_to_be_had_one_line_says_what_to_set(place):
    (place / "ray").write_text("")
    (place / f"ray-{os.geteuid()}").write_text("")
    with pytest.raises(GroundError, match=r"Ray needs a folder of a short path.*Set RAY_TMPDIR") as refused:
        session_folder()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("home", [None, "/proc/nobody", "a file"])
def test_a_home_that_holds_no_token_is_done_without(tmp_path, home):
    (tmp_path / "a file").write_text("")
    environment = {} if home is None else {"HOME": str(tmp_path / home)}
    provide_token(environment)
    assert len(environment["RAY_AUTH_TOKEN"]) == 64
    other = {}
    provide_token(other)
    assert other["RAY_AUTH_TOKEN"] != environment["RAY_AUTH_TOKEN"]


@pytest.mark.parametrize(
    "environment", [{"RAY_AUTH_TOKEN": "mine"}, {"RAY_AUTH_TOKEN_PATH": "mine"}, {"RAY_AUTH_MODE": "disabled"}]
)
def test_a_token_that_is_given_or_not_wanted_stays_as_it_is(environment):
    before = dict(environment)
    provide_token(environment)
    assert environment == before


def test_a_token_at_home_is_used(tmp_path):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("0" * 64)
    environment = {"HOME": str(tmp_path)}
    provide_token(environment)
    assert environment == {"HOME": str(tmp_path)}


def test_what_the_system_refuses_ray_is_said_with_the_folder(place, monkeypatch):
    def refuse(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("search.cluster.cluster.ray.init", refuse)
    monkeypatch.setattr("search.cluster.cluster.provide_token", lambda: None)
    options = Options("staged", None, "embedded", 1, 3, 2, "runs", "name")
    with pytest.raises(
        ClusterError, match=rf"Ray on this machine cannot be used \(it works in {place}/ray\): .*No space"
    ):
        connect(options)
