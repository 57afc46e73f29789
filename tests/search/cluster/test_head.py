"""A head that answers no more is noticed, one that is only busy is not lost."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from search.cluster.head import Head

ROOT = Path(__file__).parents[3]


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_a_head_that_is_there_is_not_lost_and_one_that_went_is(server):
    host, port = server.getsockname()
    with Head(f"{host}:{port}", patience=0.05, every=0.001) as head:
        server.accept()[0].close()
        assert head.lost is None
        server.close()
        until(lambda: head.lost)
        assert head.lost == f"the cluster's head at {host}:{port} has not answered for 0.05 s"


def test_a_head_that_comes_back_in_time_is_not_lost(server):
    host, port = server.getsockname()
    server.close()
    with Head(f"{host}:{port}", patience=60, every=0.001) as head:
        until(lambda: head._silent_since is not None)
        with socket.create_server((host, port)):
            until(lambda: head._silent_since is None)
        assert head.lost is None


def test_a_search_that_waits_within_ray_is_left_when_it_had_time_to_notice(server):
    host, port = server.getsockname()
    server.close()
    left = threading.Event()
    with Head(f"{host}:{port}", left.set, patience=0.01, every=0.001, grace=0.01) as head:
        assert left.wait(60) and head.lost


def test_a_search_that_has_noticed_is_not_left(server):
    host, port = server.getsockname()
    server.close()
    left = threading.Event()
    with Head(f"{host}:{port}", left.set, patience=0.01, every=0.001, grace=0.05) as head:
        until(lambda: head.lost)
    head._thread.join(60)
    assert not left.is_set()


def test_leaving_says_how_to_go_on_and_ends_with_the_code_of_a_pause():
    program = (
        "from search.cluster.head import leave_paused; leave_paused('head:1', 'python search/run.py --resume runs/x')"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 4
    assert "the cluster's head at head:1 has not answered for 30 s" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "python search/run.py --resume runs/x"


def test_without_a_cluster_nobody_is_asked():
    with Head(None) as head:
        assert head.lost is None and not head._thread.is_alive()
