"""The commands of docs/cluster.md as a reader types them, but for ports and folders; of three nodes, one is killed."""

import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.whole_search import (
    ROOT,
    Program,
    assert_each_event_once,
    assert_study_is_that_of_the_table,
    ended_in,
    reports_of,
    table_of,
)

pytestmark = pytest.mark.xdist_group("clusters")

GUIDE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def commands_after(text: str) -> list[str]:
    """The commands of the first block behind a text of the guide."""
    block = re.search(r"\n\n((?:    .+\n)+)", GUIDE[GUIDE.index(text) :])
    assert block, text
    return [line.strip() for line in block[1].splitlines()]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    """Types a command of the guide; what is left of them all in the end is ended.

    Home, Ray's own folder and its ports are this test's: other clusters of the machine stay as they are.
    """
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    ray_folder = tempfile.mkdtemp(prefix="ray-")  # The paths of its sockets are limited to 107 characters.
    environment = {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "RAY_TMPDIR": ray_folder,
        "RAY_AUTH_MODE": "token",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    assert "export RAY_AUTH_MODE=token" in commands_after("Then, on every node and wherever you type a `ray`")
    (make_token,) = commands_after("### The token")
    subprocess.run(["bash", "-c", make_token], check=True, env=os.environ | environment)
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600
    port, typed = str(free_port()), []

    def type_in(command: str, *more: object) -> Program:
        words = shlex.split(command.replace("6379", port))
        typed.append(Program(*words, *more, environment=environment))
        return typed[-1]

    yield type_in
    for program in reversed(typed):
        program.clean_up()
    shutil.rmtree(ray_folder, ignore_errors=True)


def wait_until_up(node: Program) -> Program:
    printed = []
    for line in node.process.stdout:
        printed.append(line)
        if "Ray runtime started" in line:
            return node
    raise AssertionError("".join(printed))


def at_work(run: Path, node: Program) -> tuple[int, int] | None:
    """Number and process of a trial of the node that has reported an epoch and goes on."""
    processes, ended = node.trials(), ended_in(run)
    last = {event["trial"]: event["metrics"] for event in reports_of(run)}
    found = ((trial, row["pid"]) for trial, row in last.items() if trial not in ended and row["pid"] in processes)
    return next(found, None)


def test_its_three_nodes_complete_a_search_of_which_one_is_killed_on_the_way(
    terminal: Callable[..., Program], tmp_path: Path
):
    head, second, third, command = commands_after("## Machines that you have")
    wait_until_up(terminal(head, "--ray-client-server-port", free_port()))
    nodes = [wait_until_up(terminal(node)) for node in (second, third)]
    search = terminal(command, "--storage", tmp_path, "--name", "run")
    run = tmp_path / "run"
    lost, (moved, process) = search.wait_for(
        lambda: next(((node, found) for node in nodes if (found := at_work(run, node))), None),
        "trial at work on the second or third node",
    )
    lost.kill()
    code, output = search.wait()
    assert code == 0, output
    assert "3 at a time" in output

    table = table_of(run)
    assert len(table) == 8 and set(table["status"]) <= {"COMPLETED", "PRUNED"}
    assert_each_event_once(run)
    assert_study_is_that_of_the_table(run)
    reports = [event for event in reports_of(run) if event["trial"] == moved]
    assert [event["metrics"]["epoch"] for event in reports] == list(range(1, table["epochs"][moved] + 1))
    assert reports[0]["metrics"]["pid"] == process != reports[-1]["metrics"]["pid"]
