"""A head that answers no more is noticed, one that is only busy is not lost."""

import socket
import time

import pytest

from search.head import Head


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


def test_without_a_cluster_nobody_is_asked():
    with Head(None) as head:
        assert head.lost is None and not head._thread.is_alive()
