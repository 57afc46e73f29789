"""Where trials are put: Ray spreads them, and packs them where that was asked for."""

import time
from pathlib import Path

import pytest
import ray
from ray import tune
from ray.cluster_utils import Cluster

from search.cluster.cluster import Resources
from search.cluster.placement import fullest_with_room, trial_resources
from search.options import PLACEMENTS, Options
from search.tuner import run_trials

TRIAL = {"CPU": 1.0, "GPU": 1.0}


def node(name, gpus=2.0, alive=True):
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": 8.0, "GPU": gpus, "memory": 1e9}}


def group(on, state="CREATED", bundle=TRIAL):
    return {"state": state, "bundles": {0: bundle}, "bundles_to_node_id": {0: on}}


@pytest.mark.parametrize(
    ("nodes", "groups", "expected"),
    [
        ([node("a"), node("b")], [], "a"),
        ([node("a", 0), node("b")], [], "b"),
        ([node("a"), node("b")], [group("b")], "b"),
        ([node("a"), node("b")], [group("b"), group("b")], "a"),
        ([node("b")], [group("b"), group("b")], None),
        ([node("a"), node("b")], [group("b"), group("b"), group("a")], "a"),
        ([node("a", 8), node("b", 8)], [group("b"), group("a"), group("a")], "a"),
        ([node("a"), node("b")], [group("b", "REMOVED"), group("", "PENDING"), group("a")], "a"),
        ([node("a", alive=False), node("b")], [group("a")], "b"),
        ([node("b")], [group("a"), group("b")], "b"),
        ([node("a")], [group("a", bundle={"CPU": 1.0, "GPU": 0.5})], "a"),
        ([node("a", 1)], [group("a", bundle={"CPU": 1.0, "GPU": 0.5})], None),
        ([{"NodeID": "a", "Alive": True, "Resources": {"CPU": 8.0}}], [group("a", bundle={"CPU": 1.0})], None),
    ],
)
def test_the_fullest_node_with_room_for_one_more_is_found(nodes, groups, expected):
    assert fullest_with_room(nodes, groups, TRIAL) == expected


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_tune_sees_no_difference_between_trials_so_that_they_take_over_each_others_processes(placement):
    first, second = (trial_resources(1, 0.5, placement) for _ in range(2))
    assert first == second and hash(first) == hash(second) and first.bundles == [{"CPU": 1, "GPU": 0.5}]


@pytest.fixture
def two_nodes(monkeypatch):
    """With room for two trials each."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    has = {"num_cpus": 2, "num_gpus": 2}
    cluster = Cluster(initialize_head=True, head_node_args=has | {"include_dashboard": False})
    try:
        cluster.add_node(**has)
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def test_two_trials_at_once_take_two_nodes_or_where_packed_one(two_nodes, search, row, tmp_path, monkeypatch):
    report = row(1, 3.0, final=True)

    def wait_for_each_other(config, **given):
        folder = Path(config["folder"])
        folder.mkdir(parents=True)
        while len(list(folder.parent.iterdir())) < 2:
            time.sleep(0.05)
        tune.report(report | {"node": ray.get_runtime_context().get_node_id()})

    monkeypatch.setattr("search.tuner.tune_trainable", wait_for_each_other)
    nodes = {}
    for placement in PLACEMENTS:
        while ray.available_resources().get("GPU", 0) < 4:  # What the search before held comes back a little later.
            time.sleep(0.1)
        folder = tmp_path / placement
        folder.mkdir()
        started = search(folder=folder)
        asked = {"address": "auto", "placement": placement}
        options = Options("flat", None, "embedded", 2, 8, 2, str(tmp_path), placement, **asked)
        run_trials(options, Resources(1, 1, 2, 2), started.study, started.scheduler, None, lambda: None)
        nodes[placement] = {record.history[0]["node"] for record in started.study.records.values()}
    assert {placement: len(used) for placement, used in nodes.items()} == {"spread": 2, "pack": 1}
