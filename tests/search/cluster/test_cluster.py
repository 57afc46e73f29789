"""What a trial gets, and how many fit."""

import os
import socket

import pytest
import ray

from search.cluster.cluster import ClusterError, Resources, _resources, connect
from search.options import Options

LAPTOP = {"CPU": 8.0}
ONE_GPU = {"CPU": 16.0, "GPU": 1.0}
EIGHT_GPUS = {"CPU": 32.0, "GPU": 8.0}
HEAD = {"memory": 1e9}
STARTED_AHEAD = "RAY_prestart_worker_first_driver"


def options(**more):
    return Options("staged", None, "embedded", 16, 24, 4, "runs", "name", **more)


@pytest.mark.parametrize(
    ("nodes", "more", "expected"),
    [
        ([LAPTOP], {}, Resources(1, 0.0, 8, 8)),
        ([LAPTOP], {"cpus_per_trial": 4}, Resources(4, 0.0, 2, 2)),
        ([LAPTOP], {"max_concurrent": 1}, Resources(1, 0.0, 1, 1)),
        ([ONE_GPU], {}, Resources(4, 1.0, 1, 1)),
        ([ONE_GPU], {"gpus_per_trial": 0.5}, Resources(4, 0.5, 2, 2)),
        ([ONE_GPU], {"gpus_per_trial": 0}, Resources(1, 0, 16, 16)),
        ([EIGHT_GPUS], {}, Resources(4, 1.0, 8, 8)),
        ([EIGHT_GPUS], {"gpus_per_trial": 0.3}, Resources(1, 0.3, 24, 24)),
        ([HEAD, ONE_GPU, EIGHT_GPUS], {"address": "auto"}, Resources(4, 1.0, 9, None)),
        ([{"CPU": 2.0, "GPU": 1.0}, ONE_GPU], {"address": "auto"}, Resources(2, 1.0, 2, None)),
        ([{"CPU": 1.0}] * 3, {"address": "auto"}, Resources(1, 0.0, 3, None)),
        ([HEAD], {"address": "auto", "gpus_per_trial": 1.0}, Resources(1, 1.0, 0, None)),
        ([HEAD, ONE_GPU], {"address": "auto", "max_concurrent": 5}, Resources(4, 1.0, 1, 5)),
    ],
)
def test_a_trial_gets_its_share_and_a_cluster_may_grow(nodes, more, expected):
    assert _resources(options(**more), nodes) == expected


def test_a_head_that_is_not_there_is_refused_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ClusterError, match=rf"Ray at 127.0.0.1:{port} cannot be used: no head answers at .*:{port}; "):
        connect(options(address=f"127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("given", "address", "expected"),
    [({}, None, "0"), ({STARTED_AHEAD: "1"}, None, "1"), ({}, "auto", None)],
    ids=["here", "here, the user's own", "on a cluster"],
)
def test_ray_started_here_starts_no_workers_ahead_unless_the_user_says_so(monkeypatch, given, address, expected):
    seen = []
    others = {name: value for name, value in os.environ.items() if name != STARTED_AHEAD}
    monkeypatch.setattr(os, "environ", others | given)
    monkeypatch.setattr(ray, "init", lambda **how: seen.append(os.environ.get(STARTED_AHEAD)))
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": LAPTOP}])
    monkeypatch.setattr("search.cluster.cluster.canonicalize_bootstrap_address", lambda address: None)
    connect(options(address=address))
    assert seen == [expected]


@pytest.mark.parametrize("address", ["no port", "host:port"])
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ClusterError, match=f"Ray at {address} cannot be used"):
        connect(options(address=address))


@pytest.mark.parametrize(("more", "named"), [({"cpus_per_trial": 9}, "9 CPU"), ({"gpus_per_trial": 1.0}, "1 GPU")])
def test_a_machine_on_which_no_trial_fits_is_refused(more, named):
    with pytest.raises(ClusterError, match=f"a trial needs .*{named}.*lower --cpus-per-trial or --gpus-per-trial"):
        _resources(options(**more), [LAPTOP])
