"""Nodes of a cluster that are bad, go away and come: on this machine, each with one GPU that only Ray believes in."""

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from tests.whole_search import assert_each_event_once, ended_in, reports_of, table_of

TRIALS, MAX_EPOCHS = 6, 5
_, WORKER = GPUS = ("91", "92")
"""What each node calls its GPU: a trial that sees it can only have it from Ray, and from that node."""
NEWCOMER = "93"


@pytest.fixture(scope="module")
def cluster():
    started = Cluster()
    started.nodes = {}
    try:
        for gpu in GPUS:
            add_node(started, gpu)
        yield started
    finally:
        started.shutdown()


def add_node(cluster, gpu):
    """Room for two trials by its cores, for one by its GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", gpu)
        more = {} if cluster.nodes else {"include_dashboard": False}
        cluster.nodes[gpu] = cluster.add_node(num_cpus=2, num_gpus=1, **more)


def vanish(cluster, gpu):
    """SIGKILL to all of a node's processes, as when a machine loses its power."""
    node = cluster.nodes[gpu]
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    for process in [raylet, *raylet.children(recursive=True)]:
        process.kill()
    cluster.remove_node(node, allow_graceful=False)


@pytest.fixture
def flags(cluster, data_folder, checkpoint, tmp_path):
    return (
        *("--data", data_folder, "--model", checkpoint, "--storage", tmp_path, "--name", "run"),
        *("--trials", TRIALS, "--max-epochs", MAX_EPOCHS, "--address", cluster.address),
        *("--cpus-per-trial", 1, "--checkpoint-every", "0s"),
    )


def notes_of(run: Path) -> list[dict[str, Any]]:
    """What trials noted of their GPU when they began, or began anew."""
    notes = run / "gpus.jsonl"
    return [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []


def at_work(run: Path) -> set[str]:
    """The GPUs of the trials that have reported something and are not through."""
    last = {note["trial"]: note["visible"] for note in notes_of(run)}
    reported = {event.trial for event in reports_of(run)}
    return {last[trial] for trial in reported - ended_in(run)}


def test_bad_nodes_are_named_and_nothing_is_started_where_there_are_no_others(cluster, start, flags):
    code, output = start(*flags).wait()
    assert code == 2, output
    assert "no node can train" in output and cluster.head_node.node_ip_address in output
    assert output.count("Ray gives it a GPU that torch cannot use") == len(GPUS)


def test_a_vanished_nodes_trials_move_and_a_newcomer_gets_work(cluster, start, flags, tmp_path):
    run, hold = tmp_path / "run", tmp_path / "hold"

    def gpus_given() -> set[str]:
        return {note["visible"] for note in notes_of(run)}

    # No trial gets past an epoch before all are as far as they are to be, however slow the machine.
    hold.touch()
    search = start(*flags, program="tests/faults/fake_gpus.py")
    search.wait_for(lambda: at_work(run) == set(GPUS), "trial with an epoch on each node")
    before = notes_of(run)
    vanish(cluster, WORKER)
    add_node(cluster, NEWCOMER)
    # The head is full.
    search.wait_for(lambda: NEWCOMER in gpus_given(), "trial on the new node")
    hold.unlink()
    code, output = search.wait()
    assert code == 0, output
    assert f"{TRIALS} trials of at most {MAX_EPOCHS} epochs, {len(GPUS)} at a time" in output

    notes = notes_of(run)
    assert all(note["given"] == [note["visible"]] for note in notes)
    assert gpus_given() == {*GPUS, NEWCOMER}
    assert len({(note["node"], note["visible"]) for note in notes}) == len({note["node"] for note in notes}) == 3
    later = notes[len(before) :]
    (moved,) = (note["trial"] for note in before if note["visible"] == WORKER)
    assert WORKER not in {note["visible"] for note in later} and moved in {note["trial"] for note in later}

    table = table_of(run)
    assert len(table) == TRIALS and set(table["status"]) <= {"COMPLETED", "PRUNED"}
    assert_each_event_once(run)
    reported = {(event.trial, event.metrics.epoch) for event in reports_of(run)}
    assert reported == {(trial, epoch + 1) for trial, epochs in enumerate(table["epochs"]) for epoch in range(epochs)}
