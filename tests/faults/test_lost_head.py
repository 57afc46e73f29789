"""A cluster's head that is gone pauses the search within a minute, with the command that goes on."""

import os
import shutil
import socket
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.whole_search import Program, reports_of

WITHIN = 60
"""Seconds in which the search has paused, from the moment on that the head is gone."""

pytestmark = pytest.mark.xdist_group("clusters")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    """Types a command, with a home, a folder and ports of Ray's that are this test's alone."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    ray_folder = tempfile.mkdtemp(prefix="ray-")  # The paths of its sockets are limited to 107 characters.
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_TMPDIR": ray_folder,
        "RAY_AUTH_MODE": "disabled",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    typed = []

    def type_in(*words: object) -> Program:
        typed.append(Program(*words, environment=environment))
        return typed[-1]

    yield type_in
    for program in reversed(typed):
        program.clean_up()
    shutil.rmtree(ray_folder, ignore_errors=True)


def started_head(terminal, port: int) -> Program:
    ports = ("--port", port, "--ray-client-server-port", free_port())
    head = terminal("ray", "start", "--head", "--num-cpus", 1, "--include-dashboard", "false", *ports, "--block")
    printed = []
    for line in head.process.stdout:
        printed.append(line)
        if "Ray runtime started" in line:
            return head
    raise AssertionError("".join(printed))


def test_a_lost_head_pauses_the_search_and_a_new_one_goes_on(terminal, data_folder, checkpoint, tmp_path):
    port, run = free_port(), tmp_path / "run"
    head = started_head(terminal, port)
    flags = ("--data", data_folder, "--model", checkpoint, "--storage", tmp_path, "--name", "run", "--trials", 2)
    address = ("--address", f"127.0.0.1:{port}")
    search = terminal(sys.executable, "search/run.py", *flags, "--max-epochs", 400, *address)
    search.wait_for(lambda: reports_of(run), "first epoch")
    head.kill()
    gone = time.monotonic()
    code, output = search.wait()
    assert code == 4, output
    assert time.monotonic() - gone < WITHIN
    assert "has not answered for 30 s. When that is mended, go on with:" in output
    assert output.splitlines()[-1].endswith(f"search/run.py --resume {run}")
    known = len(reports_of(run))

    code, output = terminal(sys.executable, "search/run.py", "--resume", run, *address).wait()
    assert code == 4 and "Traceback" not in output, output
    assert f"Ray at 127.0.0.1:{port} cannot be used" in output and f"--resume {run}" in output

    started_head(terminal, port)
    search = terminal(sys.executable, "search/run.py", "--resume", run, *address)
    search.wait_for(lambda: len(reports_of(run)) > known, "epoch after the head came back")
    epochs = [event["metrics"]["epoch"] for event in reports_of(run) if event["trial"] == 0]
    assert epochs == list(range(1, len(epochs) + 1))
