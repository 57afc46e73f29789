"""How much memory a trial may count on, wherever it runs."""

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.cluster.cluster import Resources, fit
from search.options import Options
from trainable.compute import memory_share

ANSWER_SECONDS = 60.0
"""So long for the answers of a cluster's nodes, whose processes have to begin first."""


def least_memory(options: Options, resources: Resources) -> int | None:
    """Bytes of a trial's share of the memory of the node, or of its GPU, that has the least.

    Args:
        options: say whether the search runs on a cluster, and how many trials it runs at a time.
        resources: of a trial.

    Returns:
        None where no node has room for one yet, or none says so.
    """
    if options.address is None:
        return memory_share(resources.gpus, resources.concurrent)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    rooms = {node["NodeID"]: fit(node["Resources"], resources.cpus, resources.gpus) for node in nodes}
    trials = {node: min(room, resources.limit or room) for node, room in rooms.items() if room}
    # Without a GPU of its own, a process still sees those of its node: they may be in use for hours.
    # Its process ends with it, so as to keep nothing of their memory.
    ask = ray.remote(num_cpus=0, num_gpus=0, max_retries=0, max_calls=1)(memory_share)
    asked = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(resources.gpus, room)
        for node, room in trials.items()
    ]
    answered = ray.wait(asked, num_returns=len(asked), timeout=ANSWER_SECONDS)[0] if asked else []
    return min((share for share in map(_answer, answered) if share is not None), default=None)


def _answer(reference: "ray.ObjectRef[int]") -> int | None:
    try:
        share: int = ray.get(reference)
    except RayError:
        return None  # What is wrong with the node is said when it is asked whether it can train.
    return share
