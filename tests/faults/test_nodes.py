"""Nodes of a cluster that are bad, go away and come: three on this machine, each with one core."""

from collections import Counter
from pathlib import Path

import pandas as pd
import psutil
import pytest
from ray.cluster_utils import Cluster

from results.journal import read_journal

MAX_EPOCHS = 5


@pytest.fixture
def cluster(monkeypatch):
    """A head that trains nothing and two nodes."""
    # A trial without a GPU has hidden them all from its process, which may have been this one.
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    started.add_node(num_cpus=1)
    started.add_node(num_cpus=1)
    yield started
    started.shutdown()


@pytest.fixture
def flags(cluster, data_folder, checkpoint, tmp_path):
    return (
        *("--data", data_folder, "--model", checkpoint, "--storage", tmp_path, "--name", "run"),
        *("--trials", 6, "--max-epochs", MAX_EPOCHS, "--address", cluster.address, "--checkpoint-every", "0s"),
    )


def trains(node) -> bool:
    """Whether a trial runs on the node."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    return any("ImplicitFunc" in " ".join(child.cmdline()) for child in raylet.children())


def wait_until(condition, process, seconds=300):
    for _ in range(seconds * 10):
        if condition():
            return True
        try:
            process.wait(0.1)
        except Exception:
            continue
        return False
    return False


def table_of(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "results.parquet")


def test_a_vanished_nodes_trials_move_and_a_newcomer_gets_work(cluster, start, flags, tmp_path):
    search = start(*flags)
    run = tmp_path / "run"
    search.wait_for_events(run / "journal.jsonl", 5)
    lost = next(node for node in cluster.worker_nodes if trains(node))
    cluster.remove_node(lost, allow_graceful=False)
    newcomer = cluster.add_node(num_cpus=1)
    assert wait_until(lambda: trains(newcomer), search.process), "the newcomer was given nothing to do"
    code, output = search.wait()
    assert code == 0, output
    table = table_of(run)
    assert len(table) == 6 and set(table["status"]) <= {"COMPLETED", "PRUNED"}
    reported = Counter(
        (event["trial"], event["metrics"]["epoch"])
        for event in read_journal(run / "journal.jsonl")
        if event["event"] == "reported"
    )
    assert set(reported.values()) == {1}, "nothing is reported twice"
    for number, epochs in enumerate(table["epochs"]):
        assert [(number, epoch) in reported for epoch in range(1, epochs + 1)] == [True] * epochs


def test_a_bad_node_is_named_and_left_out(cluster, start, flags):
    """It has a GPU that torch cannot use; where it is the only one of its kind, there is nothing left to train on."""
    bad = cluster.add_node(num_cpus=1, num_gpus=1)
    code, output = start(*flags, "--gpus-per-trial", 1).wait()
    assert code == 2, output
    assert "no node can train" in output and bad.node_ip_address in output
    assert "Ray gives it a GPU that torch cannot use" in output
