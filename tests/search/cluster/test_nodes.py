"""A node that fails its trials gets no more of them, and they go elsewhere; a trial's own crashes cost no node."""

import pytest

from search.cluster.nodes import QUICK_DEATHS, QUICK_SECONDS, Nodes
from search.searcher import MAX_CRASHES, StudySearcher


class Cluster:
    """Nodes as `Nodes` sees them, and what became of them."""

    def __init__(self, *names):
        self.alive = {name: f"{name} (address)" for name in names}
        self.held, self.said, self.now = [], [], 0.0
        self.nodes = Nodes(lambda: self.alive, self.hold, self.said.append, lambda: self.now)

    def hold(self, node):
        self.held.append(node)
        return Held(self, node)

    def dies(self, trial, node, after=1.0):
        """A trial begins on a node and its process dies; the trials that this is no fault of."""
        self.nodes.begun(trial, node)
        self.now += after
        return self.nodes.died(trial)


class Held:
    def __init__(self, cluster, node):
        self.cluster, self.node = cluster, node

    def release(self):
        self.cluster.held.remove(self.node)


def test_a_node_that_a_trial_names_as_the_reason_gets_no_more_from_the_first_time_on():
    cluster = Cluster("good", "bad")
    cluster.nodes.failed(3, "bad", "cannot load what the search could: model x")
    cluster.nodes.failed(4, "bad", "cannot load what the search could: model x")
    assert cluster.held == ["bad"] and cluster.nodes.none_left is None
    assert cluster.said == ["node bad (address): cannot load what the search could: model x; it gets no more trials"]


def test_with_no_node_left_the_reasons_of_all_are_given():
    cluster = Cluster("one", "two")
    cluster.nodes.failed(0, "one", "its GPU has given out")
    cluster.nodes.failed(1, "two", "has no shared memory left")
    assert cluster.nodes.none_left == (
        "no node can train: one (address) its GPU has given out; two (address) has no shared memory left"
    )
    cluster.alive["new"] = "new"
    assert cluster.nodes.none_left is None, "a node that joins is as good as any"


def test_a_node_whose_last_trials_died_at_once_gets_no_more_and_they_are_not_to_blame():
    cluster = Cluster("good", "bad")
    assert cluster.dies(1, "bad") == cluster.dies(2, "bad") == []
    assert cluster.dies(3, "bad") == [1, 2, 3] and cluster.held == ["bad"]
    assert f"the last {QUICK_DEATHS} trials there died within seconds" in cluster.said[0]


@pytest.mark.parametrize("between", ["an evaluation", "a slow death"])
def test_deaths_that_are_not_in_a_row_or_not_at_once_cost_no_node(between):
    cluster = Cluster("good", "other")
    cluster.dies(1, "good")
    cluster.dies(2, "good")
    if between == "an evaluation":
        cluster.nodes.begun(3, "good")
        cluster.nodes.went_on(3)
        assert cluster.dies(4, "good") == []
    else:
        assert cluster.dies(3, "good", QUICK_SECONDS + 1) == []
    assert cluster.held == []


def test_the_last_node_is_never_given_up_for_deaths():
    cluster = Cluster("only")
    assert [cluster.dies(trial, "only") for trial in range(9)] == [[]] * 9
    assert cluster.held == [] and cluster.nodes.none_left is None


def test_a_trial_that_dies_everywhere_leaves_the_nodes_as_they_are():
    cluster = Cluster("one", "two")
    cluster.dies(1, "one")
    cluster.dies(1, "one")
    assert cluster.held == ["one"], "its third try is elsewhere"
    cluster.dies(1, "two")
    assert cluster.held == [] and cluster.said == []


def test_a_trial_that_fares_well_elsewhere_shows_that_the_node_was_at_fault():
    cluster = Cluster("good", "bad")
    cluster.dies(1, "bad")
    cluster.dies(1, "bad")
    cluster.nodes.begun(1, "good")
    cluster.nodes.went_on(1)
    assert cluster.held == ["bad"]
    assert "trial 1 died there twice within seconds and goes on elsewhere; it gets no more" in cluster.said[0]


@pytest.fixture
def on(search):
    """A search whose trials run on the nodes of a made-up cluster."""

    def on(cluster):
        started = search()
        started.searcher = started.scheduler.searcher = StudySearcher(
            started.study, started.searcher.folder, say=cluster.said.append, nodes=cluster.nodes
        )
        return started

    return on


def fails_on(started, trial, node):
    report = {"node_fault": "cannot load what the search could", "node_id": node, "node": node}
    started.searcher.on_trial_result(trial.trial_id, {"begun": True, "node_id": node})
    started.searcher.on_trial_result(trial.trial_id, report)
    started.searcher.on_trial_complete(trial.trial_id, error=True)


def test_the_trials_of_a_bad_node_are_handed_out_again_and_never_fail(on):
    started = on(Cluster("good", "bad"))
    for _ in range(2 * MAX_CRASHES):
        fails_on(started, started.start_trial(), "bad")
    assert [record.status for record in started.study.records.values()] == ["RUNNING"]
    assert started.searcher.crashes == {} and started.searcher.pause is None
    started.run(2)
    assert [record.status for record in started.study.records.values()] == ["COMPLETED"] * 2


def test_where_every_node_is_bad_the_search_pauses(on):
    started = on(Cluster("only"))
    fails_on(started, started.start_trial(), "only")
    assert started.searcher.pause == "no node can train: only (address) cannot load what the search could"
    assert started.searcher.suggest("next") == StudySearcher.FINISHED
    assert started.study.records[0].status == "RUNNING"


def test_trials_that_died_of_their_node_have_all_their_tries_again(on):
    cluster = Cluster("good", "bad")
    started = on(cluster)
    trials = [started.start_trial() for _ in range(QUICK_DEATHS)]
    for trial in trials:
        started.searcher.on_trial_result(trial.trial_id, {"begun": True, "node_id": "bad"})
    for trial in trials:
        started.searcher.on_trial_complete(trial.trial_id, error=True)
    assert started.searcher.crashes == {} and cluster.held == ["bad"]
