"""What is wrong with a cluster's nodes, found before the first trial and told all together.

A node that cannot train is named and kept out by taking its resources, as long as another one can.
"""

import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs
import ray
import torch
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.cluster import ClusterError, Resources
from search.options import Options
from search.run_folder import code_version
from trainable.data.pairs import Pair, PairData, pictures_digest
from trainable.data.snapshot import Snapshot
from trainable.data.source import on_this_machine
from trainable.remote import Remote, StorageError

SECONDS = 18.0
"""That all nodes together have for their answers; one that has not answered by then counts as bad."""
SAMPLED_PAIRS = 16
"""Pairs of which a node reads the pictures; of the others it looks whether they are there."""
LEAST_DISK = 2 * 10**9
"""Free bytes that a node needs where it keeps its cache."""
LEAST_SHARED_MEMORY = 64 * 2**20
"""Free bytes of /dev/shm that a trial needs whose pictures are loaded by processes of its own."""


_occupants: list[Any] = []
"""Actors that hold the resources of bad nodes; they live as long as they are referred to."""


@dataclass(frozen=True)
class Task:
    """What a node is to be able to do; travels to each of them."""

    code: str
    packages: dict[str, str]
    pairs: PairData
    folder: Remote
    """Within the run folder, wherever that lies; the driver has put the file `driver` into it."""
    token: str
    """Content of that file, and of the nodes' own."""
    loaders: bool
    """Whether trials start processes that load pictures."""
    gpu: bool
    """Whether trials train on a GPU."""


def preflight(options: Options, resources: Resources, pairs: PairData, say: Callable[[str], None]) -> None:
    """Asks every node that has what a trial needs whether it can train; without a cluster, whether there is room.

    Bad nodes are kept out until Ray is shut down.

    Args:
        options: say where the run folder is, and whether the search runs on a cluster.
        resources: of a trial.
        pairs: the data set, as the driver sees it.
        say: called with a line on each bad node, and where nodes are to pull the data.

    Raises:
        ClusterError: all of them are bad; the message says why, of each.
    """
    loaders = resources.cpus > 1 and resources.gpus > 0
    if options.address is None:
        for fault in room_faults(loaders):
            say(f"this machine {fault}")
        return
    run = options.remote or Remote(options.run.resolve().as_uri())
    folder = replace(run.at("preflight"), retry_seconds=0)
    nodes = [node for node in ray.nodes() if node["Alive"] and _has(node, resources)]
    token = uuid.uuid4().hex
    task = Task(code_version(), _packages(), pairs, folder, token, loaders, resources.gpus > 0)
    bad = _pull_faults(nodes, pairs, say)
    asked = [node for node in nodes if node["NodeID"] not in bad]
    folder.write("driver", token.encode())
    try:
        answers = _answers(asked, task, resources.gpus)
    finally:
        folder.drop("")
    bad |= {node["NodeID"]: faults for node, faults in zip(asked, answers, strict=True) if faults}
    lines = [f"node {_name(node)} {'; '.join(bad[node['NodeID']])}" for node in nodes if node["NodeID"] in bad]
    if nodes and len(bad) == len(nodes):
        raise ClusterError("no node can train:\n" + "\n".join(f"  {line}" for line in lines))
    for line in lines:
        say(f"{line}; it is left out")
    occupants = [_occupy(node) for node in nodes if node["NodeID"] in bad]
    _occupants.extend(occupants)
    # Before the first trial can be put there.
    if occupants:
        ready = [occupant.__ray_ready__.remote() for occupant in occupants]
        ray.wait(ready, num_returns=len(ready), timeout=SECONDS)


def inspect(task: Task) -> list[str]:
    """What is wrong with this node."""
    checks = (_code_faults, _data_faults, _storage_faults, _device_faults)
    return [fault for check in checks for fault in check(task)] + room_faults(task.loaders)


def room_faults(loaders: bool) -> list[str]:
    """What this machine has too little of.

    Args:
        loaders: whether trials start processes that load pictures.
    """
    faults = []
    cache = _existing(platformdirs.user_cache_path("moved-object-search", appauthor=False))
    if (free := shutil.disk_usage(cache).free) < LEAST_DISK:
        faults.append(f"has {free / 1e9:.2g} GB of disk left for its cache in {cache}, {LEAST_DISK / 1e9:g} are needed")
    shared_memory = Path("/dev/shm")
    if loaders and shared_memory.exists() and (free := shutil.disk_usage(shared_memory).free) < LEAST_SHARED_MEMORY:
        faults.append(
            f"has {free / 2**20:.0f} MiB of shared memory left, {LEAST_SHARED_MEMORY / 2**20:.0f} are needed (for a "
            "container: --shm-size), or --cpus-per-trial 1"
        )
    return faults


def _has(node: dict[str, Any], resources: Resources) -> bool:
    has = node["Resources"]
    return has.get("CPU", 0) >= resources.cpus and has.get("GPU", 0) >= resources.gpus


def _pull_faults(nodes: list[dict[str, Any]], pairs: PairData, say: Callable[[str], None]) -> dict[str, list[str]]:
    """Has every node pull a data set that lies in a bucket, however long that takes; why some cannot, by their ids."""
    if not pairs.snapshot:
        return {}
    say(f"{pairs.location}: every node pulls its copy, {pairs.snapshot.size}, unless it has one")
    pull, snapshot = ray.remote(num_cpus=0, max_retries=0)(_pull_fault), ray.put(pairs.snapshot)
    pulls = {node["NodeID"]: pull.options(scheduling_strategy=_on(node)).remote(snapshot) for node in nodes}
    faults = {}
    for node, answer in pulls.items():
        try:
            faults[node] = ray.get(answer)
        except RayError as error:
            faults[node] = f"cannot run the project's code: {_last_line(error)}"
    return {node: [fault] for node, fault in faults.items() if fault}


def _pull_fault(snapshot: Snapshot) -> str | None:
    try:
        snapshot.pull()
    except StorageError as error:
        return f"cannot pull the data: {error}"
    return None


def _answers(nodes: list[dict[str, Any]], task: Task, gpus: float) -> list[list[str]]:
    """The faults of each node."""
    deadline = time.monotonic() + SECONDS
    shared = ray.put(task)
    asked = ray.remote(num_cpus=0, num_gpus=gpus, max_retries=0)(inspect)
    answers = [asked.options(scheduling_strategy=_on(node)).remote(shared) for node in nodes]
    return [
        _answer(node, answer, task, max(0.1, deadline - time.monotonic()))
        for node, answer in zip(nodes, answers, strict=True)
    ]


def _answer(node: dict[str, Any], answer: Any, task: Task, seconds: float) -> list[str]:
    try:
        faults = ray.get(answer, timeout=seconds)
    except GetTimeoutError:
        return [f"has not answered within {SECONDS:g} s"]
    except RayError as error:
        return [f"cannot run the project's code: {_last_line(error)}"]
    if not faults and task.folder.read(node["NodeID"]) != task.token.encode():
        return [f"writes to {task.folder} what does not arrive here; the storage must be one that all nodes see"]
    return faults


def _name(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def _on(node: dict[str, Any]) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)


def _occupy(node: dict[str, Any]) -> Any:
    """Takes all of a node's CPUs and GPUs, so that no trial is put there."""
    has = node["Resources"]
    occupant = ray.remote(num_cpus=has.get("CPU", 0), num_gpus=has.get("GPU", 0))(_Occupant)
    return occupant.options(scheduling_strategy=_on(node)).remote()


class _Occupant:
    """Holds resources by being there."""


def _code_faults(task: Task) -> list[str]:
    if (code := code_version()) != task.code:
        return [f"has another version of the project ({code}, the search has {task.code})"]
    here = _packages()
    return [
        f"has {name} {here[name]}, the search {value}" for name, value in task.packages.items() if here[name] != value
    ]


def _data_faults(task: Task) -> list[str]:
    here = on_this_machine(task.pairs)
    pairs = (*here.train, *here.val)
    missing = [path for pair in pairs for path in (pair.before, pair.after) if not path.exists()]
    if missing:
        return [f"does not see {len(missing)} of the data set's {2 * len(pairs)} pictures, such as {missing[0]}"]
    sampled = pairs[:: max(1, len(pairs) // SAMPLED_PAIRS)]
    others = [pair for pair in sampled if _digest(pair) != pair.pictures_digest]
    return [f"sees other pictures than the search, such as {others[0].before}"] if others else []


def _digest(pair: Pair) -> str:
    try:
        return pictures_digest(pair.before, pair.after)
    except OSError:
        return ""


def _storage_faults(task: Task) -> list[str]:
    try:
        token = task.folder.read("driver")
        if token is None:
            return [f"does not see the run folder: {task.folder} is empty there; the storage must be one of all nodes"]
        if token.decode() != task.token:
            return [f"reads something else from {task.folder} than the search has written there"]
        task.folder.write(ray.get_runtime_context().get_node_id(), token)
    except StorageError as error:
        return [f"cannot use the run folder: {error}"]
    return []


def _device_faults(task: Task) -> list[str]:
    if not task.gpu or torch.cuda.is_available():
        return []
    return ["Ray gives it a GPU that torch cannot use: the driver does not fit, or torch is a build without CUDA"]


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _packages() -> dict[str, str]:
    import optuna
    import transformers

    return {"ray": ray.__version__, "torch": torch.__version__, "transformers": transformers.__version__} | {
        "optuna": optuna.__version__
    }


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
