"""On which of a cluster's nodes a trial's process is started: spread over all of them, or on as few as will do."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray import tune
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group

from search.cluster.cluster import Resources, fit

PLACED_WITHIN = 1
"""Seconds after which a trial that was to find room is waited for no longer."""


def trial_resources(cpus: int, gpus: float, placement: str) -> tune.PlacementGroupFactory:
    """What Ray Tune is to ask Ray for, of each trial.

    Args:
        cpus: whole cores.
        gpus: GPUs, or a share of one.
        placement: one of `search.options.PLACEMENTS`.
    """
    # Ray 2.60 puts a group of one bundle on the emptiest node, whatever the group's own strategy is.
    kind = _Packed if placement == "pack" else tune.PlacementGroupFactory
    return kind([{"CPU": cpus, "GPU": gpus}])


class _Packed(tune.PlacementGroupFactory):
    """Asks for the fullest node with room, as it is found when a process is to be started.

    All are equal for Tune, so that a trial still finds the warm process of another.
    """

    def to_placement_group(self) -> PlacementGroup:
        (bundle,) = self.bundles
        node = fullest_with_room(ray.nodes(), placement_group_table().values(), bundle)
        # A node that is full or gone by then is passed over. The argument is Ray 2.60's own, and there is no public one
        # that could be: a label selector insists.
        group = placement_group([bundle], "STRICT_PACK", _soft_target_node_id=node)
        if node:
            # Until it is placed, which takes milliseconds, the next one would not find it.
            group.wait(PLACED_WITHIN)
        return group


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


def fullest_with_room(
    nodes: Iterable[Mapping[str, Any]], groups: Iterable[Mapping[str, Any]], bundle: Mapping[str, float]
) -> str | None:
    """The id of the node that holds the most trials and has room for one more; None where none has.

    Args:
        nodes: as `ray.nodes` gives them.
        groups: values of Ray's table of placement groups, those of other searches too.
        bundle: what the trial needs.
    """
    held: dict[str, list[Mapping[str, float]]] = {}
    for group in groups:
        if group["state"] == "CREATED":
            for index, node in group["bundles_to_node_id"].items():
                held.setdefault(node, []).append(group["bundles"][index])
    with_room = [
        node["NodeID"]
        for node in nodes
        if node["Alive"] and _fits(bundle, node["Resources"], held.get(node["NodeID"], ()))
    ]
    return max(with_room, key=lambda node: len(held.get(node, ())), default=None)


def _fits(bundle: Mapping[str, float], resources: Mapping[str, float], held: Iterable[Mapping[str, float]]) -> bool:
    taken: Counter[str] = Counter()
    for other in held:
        taken.update(other)
    return all(resources.get(name, 0) - taken[name] >= amount for name, amount in bundle.items())
