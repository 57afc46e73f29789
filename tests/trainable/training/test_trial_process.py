"""One process of a trial at a time, and none whose search has gone."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from trainable.training import trial_process
from trainable.training.trial_process import only_process

HOLDER = """
import sys, time
from pathlib import Path
from trainable.training.trial_process import only_process

with only_process(Path(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(600)
"""

# A worker whose parent is killed while its grandparent takes orphans in, as `systemd --user` does and our supervisor.
ORPHAN = """
import ctypes, os, signal, sys, time

PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
read, write = os.pipe()
parent = os.fork()
if not parent:
    worker = os.fork()
    if not worker:
        from trainable.training.trial_process import end_with_parent
        end_with_parent()
        end_with_parent()
        os.write(write, b"%d" % os.getpid())
    time.sleep(600)
worker = int(os.read(read, 20))
if sys.argv[1] == "killed":
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    _, status = os.waitpid(worker, 0)
    print("ended with", os.waitstatus_to_exitcode(status))
else:
    time.sleep(2.5)
    os.kill(worker, 0)
    print("lives")
    for process in (worker, parent):
        os.kill(process, signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="no other system has subreapers")
@pytest.mark.parametrize(("parent", "worker"), [("killed", "ended with 1"), ("alive", "lives")])
def test_a_worker_ends_with_its_parent_and_not_before(parent, worker):
    command = [sys.executable, "-c", ORPHAN, parent]
    assert subprocess.run(command, capture_output=True, text=True, timeout=120).stdout.strip() == worker


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of this folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "0007"], stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        yield other
        other.kill()


def test_the_next_process_of_a_trial_waits_until_the_one_before_has_ended_and_says_so(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_process, "FIRST_WORD_SECONDS", 0.0)
    told = []

    def tell(line):
        told.append(line)
        os.kill(holder.pid, signal.SIGKILL)  # No `finally` of its own runs.

    with only_process(tmp_path / "0007", tell):
        assert holder.wait() == -signal.SIGKILL
    (line,) = told
    assert line.startswith(f"{tmp_path / '0007'}: process {holder.pid} on ") and line.endswith("waiting for it to end")


def test_whoever_waits_can_give_up_and_leaves_the_other_its_lock(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(trial_process, "FIRST_WORD_SECONDS", 0.0)

    def tell(line):
        raise SystemExit  # as Ray ends a trial in a report

    for _ in range(2):
        with pytest.raises(SystemExit), only_process(tmp_path / "0007", tell):
            pytest.fail("it is another's")
    assert holder.poll() is None


def test_it_is_given_back_also_where_a_trial_fails_and_nothing_is_left_of_it(tmp_path):
    for _ in range(2):
        with pytest.raises(ValueError), only_process(tmp_path / "0007", pytest.fail):
            raise ValueError
    assert list((tmp_path / "0007").iterdir()) == []


def test_of_many_at_once_one_is_in_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(trial_process, "_POLL_SECONDS", 0.001)
    inside, most = [], []

    def take_turns():
        for _ in range(10):
            with only_process(tmp_path, lambda line: None):
                inside.append(None)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=take_turns) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 40


def test_a_process_that_was_forked_meanwhile_does_not_keep_it(tmp_path):
    with only_process(tmp_path, pytest.fail):
        child = os.fork()  # as a trial's processes that load images are
        if not child:
            signal.pause()
    try:
        with only_process(tmp_path, pytest.fail):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_file_system_without_locks_is_done_without_them(tmp_path, monkeypatch):
    def no_locks(file, operation):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(trial_process.fcntl, "flock", no_locks)
    with only_process(tmp_path, pytest.fail):
        assert list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "0007").write_text("a file")
    with pytest.raises(OSError, match="0007"), only_process(tmp_path / "0007", pytest.fail):
        pass
