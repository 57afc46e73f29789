"""Keeps trials off a node of a cluster."""

import time
from collections.abc import Mapping

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from search.cluster.cluster import Resources, fit


class Hold:
    """Keeps trials off a node by holding its room for as many as fit; what is in use now, as soon as it is free.

    No process is started for it: on a node that is broken, none may ever come up.

    Args:
        node: its id.
        bundle: what one trial needs.
        slots: how many of them the node has room for.
    """

    def __init__(self, node: str, bundle: Mapping[str, float], slots: int):
        here = [{"ray.io/node-id": node}]
        needed = {name: amount for name, amount in bundle.items() if amount}
        self._groups = [placement_group([needed], bundle_label_selector=here) for _ in range(slots)]

    def wait(self, seconds: float) -> None:
        """Returns once the node has no room left, at the latest after so many seconds."""
        deadline = time.monotonic() + seconds
        for group in self._groups:
            group.wait(max(0.0, deadline - time.monotonic()))

    def release(self) -> None:
        """Gives the room back."""
        for group in self._groups:
            remove_placement_group(group)


def hold_node(resources: Resources, node: str) -> Hold:
    """Keeps trials off a node; see `Hold`.

    Args:
        resources: of a trial.
        node: its id.
    """
    (has,) = (found["Resources"] for found in ray.nodes() if found["NodeID"] == node)
    return Hold(node, {"CPU": resources.cpus, "GPU": resources.gpus}, fit(has, resources.cpus, resources.gpus))
