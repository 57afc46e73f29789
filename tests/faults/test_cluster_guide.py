"""The commands of docs/cluster.md as a reader types them, but for ports and folders; of three nodes, one is killed."""

import os
import re
import stat
import subprocess
from pathlib import Path

import pytest

from tests.terminal import Terminal, free_port
from tests.whole_search import (
    ROOT,
    Program,
    assert_each_event_once,
    assert_study_is_that_of_the_table,
    ended_in,
    reports_of,
    table_of,
)

GUIDE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")


def commands_after(text: str) -> list[str]:
    """The commands of the first block behind a text of the guide."""
    block = re.search(r"\n\n((?:    .+\n)+)", GUIDE[GUIDE.index(text) :])
    assert block, text
    return [line.strip() for line in block[1].splitlines()]


@pytest.fixture
def with_token(terminal: Terminal, tmp_path: Path) -> Terminal:
    """A terminal with a token, made and told of as the guide says."""
    assert "export RAY_AUTH_MODE=token" in commands_after("Then, on every node and wherever you type a `ray`")
    terminal.environment["RAY_AUTH_MODE"] = "token"
    (make_token,) = commands_after("### The token")
    subprocess.run(["bash", "-c", make_token], check=True, env=os.environ | terminal.environment)
    assert stat.S_IMODE((tmp_path / ".ray" / "auth_token").stat().st_mode) == 0o600
    return terminal


def at_work(run: Path, node: Program) -> tuple[int, int] | None:
    """Number and process of a trial of the node that has reported an epoch and goes on."""
    processes, ended = node.trials(), ended_in(run)
    last = {event.trial: event.metrics for event in reports_of(run)}
    found = ((trial, row.pid) for trial, row in last.items() if trial not in ended and row.pid in processes)
    return next(found, None)


def test_its_three_nodes_complete_a_search_of_which_one_is_killed_on_the_way(with_token: Terminal, tmp_path: Path):
    head, second, third, command = commands_after("## Machines that you have")
    with_token.start_node(head, "--ray-client-server-port", free_port())
    nodes = [with_token.start_node(node) for node in (second, third)]
    search = with_token.type_in(command, "--storage", tmp_path, "--name", "run")
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
    reports = [event for event in reports_of(run) if event.trial == moved]
    assert [event.metrics.epoch for event in reports] == list(range(1, table["epochs"][moved] + 1))
    assert reports[0].metrics.pid == process != reports[-1].metrics.pid
