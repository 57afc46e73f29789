"""What is wrong with a cluster's nodes, found before the first trial and told all together.

A node that cannot train is named and kept out by holding what it has, as long as another one can.
"""

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray
from ray._private.state import available_resources_per_node  # There is no public one of a node's own in Ray 2.60.
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.cluster.asking import Board, Waiting, answer
from search.cluster.capacity import TrialSize
from search.cluster.cluster import ClusterError, Resources, fit, name_of
from search.cluster.hold import hold_node
from search.cluster.inspection import Task, packages, room_faults
from search.options import Options
from search.run_folder.identity import code_version
from trainable.data.pairs import PairData
from trainable.data.snapshot import Snapshot
from trainable.storage.remote import Remote, StorageError

LOOK_SECONDS = 1.0
"""Between two looks at what nodes have told."""
HELD_WITHIN = 10.0
"""Seconds in which a node that is to be kept out is held, where nothing runs on it."""


def preflight(
    options: Options, resources: Resources, pairs: PairData, trial: TrialSize, say: Callable[[str], None]
) -> frozenset[str]:
    """Asks every node that has what a trial needs whether it can train; without a cluster, whether there is room.

    Nodes are waited for as long as they live and get on with it. Bad ones are kept out until Ray is shut down.

    Args:
        options: say where the run folder is, and whether the search runs on a cluster.
        resources: of a trial.
        pairs: the data set, as the driver sees it.
        trial: what one takes of a node's memory.
        say: called with a line on each bad node, on what is waited for, and where nodes are to pull the data.

    Returns:
        The ids of the nodes that are kept out.

    Raises:
        ClusterError: all of them are bad; the message says why, of each.
    """
    loaders = resources.cpus > 1 and resources.gpus > 0
    if options.address is None:
        for fault in room_faults(loaders):
            say(f"this machine {fault}")
        return frozenset()
    run = options.remote or Remote(options.run.resolve().as_uri())
    folder = replace(run.at("preflight"), retry_seconds=0)
    nodes = [n for n in ray.nodes() if n["Alive"] and fit(n["Resources"], resources.cpus, resources.gpus)]
    token = uuid.uuid4().hex
    task = Task(code_version(), packages(), pairs, folder, token, loaders, 0, tuple(options.models), trial)
    bad = _pull_faults(nodes, pairs, say)
    asked = [node for node in nodes if node["NodeID"] not in bad]
    folder.write("driver", token.encode())
    try:
        answers = _answers(asked, task, resources, say)
    finally:
        folder.drop("")
    bad |= {node["NodeID"]: faults for node, faults in zip(asked, answers, strict=True) if faults}
    lines = [f"node {name_of(node)} {'; '.join(bad[node['NodeID']])}" for node in nodes if node["NodeID"] in bad]
    if nodes and len(bad) == len(nodes):
        raise ClusterError("no node can train:\n" + "\n".join(f"  {line}" for line in lines))
    for line in lines:
        say(f"{line}; it is left out")
    # Before the first trial can be put there.
    for hold in [hold_node(resources, node) for node in bad]:
        hold.wait(HELD_WITHIN)
    return frozenset(bad)


def _pull_faults(nodes: list[dict[str, Any]], pairs: PairData, say: Callable[[str], None]) -> dict[str, list[str]]:
    """Has every node pull a data set that lies in a bucket, however long that takes; why some cannot, by their ids."""
    if not pairs.snapshot:
        return {}
    say(f"{pairs.location}: every node pulls its copy, {pairs.snapshot.size}, unless it has one")
    pull, snapshot = ray.remote(num_cpus=0, max_retries=0)(_pull_fault), ray.put(pairs.snapshot)
    pulls = {node["NodeID"]: pull.options(scheduling_strategy=_on(node["NodeID"])).remote(snapshot) for node in nodes}
    faults = {}
    for node, answered in pulls.items():
        try:
            faults[node] = ray.get(answered)
        except RayError as error:
            faults[node] = f"cannot run the project's code: {_last_line(error)}"
    return {node: [fault] for node, fault in faults.items() if fault}


def _pull_fault(snapshot: Snapshot) -> str | None:
    try:
        snapshot.pull()
    except StorageError as error:
        return f"cannot pull the data: {error}"
    return None


def _answers(
    nodes: list[dict[str, Any]], task: Task, resources: Resources, say: Callable[[str], None]
) -> list[list[str]]:
    """The faults of each node, once each has answered, died, or made no progress for long."""
    free = available_resources_per_node() if resources.gpus else {}
    board = ray.remote(num_cpus=0)(Board).options(scheduling_strategy=_on(_this_node())).remote()
    pending, faults = {}, {}
    for node, has in ((_id(node), node["Resources"]) for node in nodes):
        # Of GPUs that are in use nothing is asked: they would be waited for as long as another search lasts.
        free_gpus = int(free.get(node, {}).get("GPU", 0))
        ask = ray.remote(num_cpus=0, num_gpus=free_gpus, max_retries=0)(answer)
        trials = fit(has, resources.cpus, resources.gpus)
        given = ray.put(replace(task, gpus=free_gpus, trials=min(trials, resources.limit or trials)))
        # In a list, it is not waited for before the function begins.
        pending[ask.options(scheduling_strategy=_on(node)).remote(node, board, [given])] = node
    waiting = Waiting({_id(node): name_of(node) for node in nodes}, say)
    news = board.news.remote()
    while pending:
        answered, _ = ray.wait([*pending], num_returns=1, timeout=LOOK_SECONDS)
        for reference in answered:
            node = pending.pop(reference)
            faults[node] = _answer(node, reference, task)
            waiting.answered(node)
        if ray.wait([news], timeout=0)[0]:
            waiting.hear(ray.get(news))
            news = board.news.remote()
        else:
            waiting.hear({})
        living = {_id(node) for node in ray.nodes() if node["Alive"]}
        for reference, node in list(pending.items()):
            if fault := "went away before it answered" if node not in living else waiting.silent(node):
                faults[node] = [fault]
                waiting.answered(pending.pop(reference))
                ray.cancel(reference, force=True)
    ray.kill(board)
    return [faults[_id(node)] for node in nodes]


def _answer(node: str, reference: Any, task: Task) -> list[str]:
    try:
        faults: list[str] = ray.get(reference)
    except RayError as error:
        return [f"cannot run the project's code: {_last_line(error)}"]
    if not faults and task.folder.read(node) != task.token.encode():
        return [f"writes to {task.folder} what does not arrive here; the storage must be one that all nodes see"]
    return faults


def _id(node: dict[str, Any]) -> str:
    return str(node["NodeID"])


def _this_node() -> str:
    return str(ray.get_runtime_context().get_node_id())


def _on(node: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node, soft=False)


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
