"""What `auto` stands for is worked out once, from the node with the least memory, and is a number from there on."""

from types import SimpleNamespace

import pytest

import search.cluster.memory
from search.cluster.capacity import trial_size
from search.cluster.cluster import Resources
from search.micro_batch import with_micro_batch_of
from search.options import Options
from trainable.sample import CHECKPOINT

GIB = 2**30


@pytest.fixture
def chosen(pair_data, monkeypatch):
    """The micro-batch of a search of the sample's checkpoint, by what is asked for and what a trial gets."""

    def chosen(asked="auto", resources=None, **options):
        options = Options(
            *("staged", None, "embedded"), trials=1, max_epochs=3, grace=1, storage="runs", name="one",
            micro_batch=asked, **options,
        )  # fmt: skip
        resources = resources or Resources(1, 0, 2, 2)
        trial = trial_size(str(CHECKPOINT), None, pair_data, resources.gpus)
        return with_micro_batch_of(options, trial, resources).micro_batch

    return chosen


@pytest.mark.parametrize("asked", ["recipe", "3", "64"])
def test_what_is_asked_for_by_name_stays(chosen, asked, monkeypatch):
    monkeypatch.setattr("search.micro_batch.least_memory", lambda *_: pytest.fail("was asked for"))
    assert chosen(asked) == asked


def test_on_this_machine_trials_share_the_memory(chosen, monkeypatch):
    asked = []
    monkeypatch.setattr(search.cluster.memory, "memory_share", lambda gpus, trials: asked.append(trials) or 8 * GIB)
    assert chosen() == "16" and asked == [2]
    assert chosen(resources=Resources(1, 0.5, 4)) == "256" and asked == [2, 4]


def test_a_machine_without_room_has_one_image_at_a_time(chosen, monkeypatch):
    monkeypatch.setattr(search.cluster.memory, "memory_share", lambda gpus, trials: 10 * 2**20)
    assert chosen() == "1"


class FakeRay:
    """A cluster of nodes that answer with what they have for each trial; None is one that does not answer."""

    def __init__(self, shares):
        self.shares = shares

    def nodes(self):
        return [
            {"NodeID": f"{index:056x}", "Alive": True, "Resources": {"CPU": cpus}}
            for index, (cpus, _) in enumerate(self.shares)
        ]

    def remote(self, **how):
        assert how["num_cpus"] == how["num_gpus"] == 0, "nodes may be in use"
        assert how["max_calls"] == 1, "a process that stayed would keep some of a GPU's memory"
        return lambda task: SimpleNamespace(options=self._placed)

    def _placed(self, scheduling_strategy):
        bytes_ = self.shares[int(scheduling_strategy.node_id, 16)][1]
        return SimpleNamespace(remote=lambda gpus, trials: bytes_ and bytes_ // trials)

    def wait(self, asked, num_returns, timeout):
        return [reference for reference in asked if reference is not None], []

    def get(self, reference):
        return reference


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([(1, 8 * GIB), (1, 20 * 2**20)], "1"),
        ([(1, 8 * GIB), (1, None)], "16"),
        ([(8, 8 * 1_310_000_000), (1, 8 * GIB)], "8"),
        ([(2, 8 * GIB), (0, 1)], "16"),
        ([(1, None)], "recipe"),
        ([], "recipe"),
        ([(0, GIB)], "recipe"),
    ],
    ids=["the least", "silent", "of each trial", "no room", "nobody", "no node", "no node with room"],
)
def test_on_a_cluster_it_is_the_node_with_the_least_that_counts(chosen, monkeypatch, nodes, expected):
    monkeypatch.setattr(search.cluster.memory, "ray", FakeRay(nodes))
    assert chosen(address="auto", resources=Resources(1, 0, 1)) == expected
