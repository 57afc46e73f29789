"""What a node must have and be able to do before trials are sent there; asked on the node itself."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ray
import torch

from search.cluster.capacity import TrialSize, memory_fault
from search.run_folder.identity import code_version
from trainable.data.pair import Pair
from trainable.data.pairs import PairData, images_digest
from trainable.data.source import on_this_machine
from trainable.detector.loading import ModelError, load_model, load_processor
from trainable.sample import checkpoint_of
from trainable.storage.cache_folder import NoHomeError, cache_folder
from trainable.storage.remote import Remote, StorageError

SAMPLED_PAIRS = 16
"""Pairs of which a node reads the images; of the others it looks whether they are there."""
LEAST_DISK = 2 * 10**9
"""Free bytes that a node needs where it keeps its cache."""
LEAST_SHARED_MEMORY = 64 * 2**20
"""Free bytes of /dev/shm that a trial needs whose images are loaded by processes of its own."""


@dataclass(frozen=True)
class Task:
    """What a node is to be able to do; travels to each of them."""

    code: str
    packages: dict[str, str]
    pairs: PairData
    folder: Remote
    """A folder within the run folder, wherever that lies; the driver has put the file `driver` into it."""
    token: str
    """Content of that file, and of the nodes' own."""
    loaders: bool
    """Whether trials start processes that load images."""
    gpus: int
    """GPUs that are looked at, those of the node that are free; 0 where trials train on none, or none is free."""
    models: tuple[str, ...]
    """What trials start from, as `checkpoint_of` takes it."""
    trial: TrialSize
    """What a trial of the largest of them takes of the memory."""
    trials: int = 1
    """At a time on the node."""


def inspect(task: Task, tell: Callable[[str], None] = lambda step: None) -> list[str]:
    """What is wrong with this node.

    Args:
        task: what it must be able to do.
        tell: called with what is done next, in words.
    """
    checks = {
        "compares its code and libraries": _code_faults,
        "reads the data set": _data_faults,
        "writes to the run folder": _storage_faults,
        "loads the model": _model_faults,
        "tries its GPUs": _device_faults,
        "measures its memory": _memory_faults,
    }
    faults = []
    for step, check in checks.items():
        tell(step)
        faults += check(task)
    return faults + room_faults(task.loaders)


def room_faults(loaders: bool) -> list[str]:
    """What this machine has too little of.

    Args:
        loaders: whether trials start processes that load images.
    """
    faults = []
    try:
        cache = _existing(cache_folder())
    except NoHomeError as error:
        return [f"has {error}"]
    if (free := shutil.disk_usage(cache).free) < LEAST_DISK:
        faults.append(f"has {free / 1e9:.2g} GB of disk left for its cache in {cache}, {LEAST_DISK / 1e9:g} are needed")
    shared_memory = Path("/dev/shm")
    if loaders and shared_memory.exists() and (free := shutil.disk_usage(shared_memory).free) < LEAST_SHARED_MEMORY:
        faults.append(
            f"has {free / 2**20:.0f} MiB of shared memory left, {LEAST_SHARED_MEMORY / 2**20:.0f} are needed (for a "
            "container: --shm-size), or --cpus-per-trial 1"
        )
    return faults


def _code_faults(task: Task) -> list[str]:
    if (code := code_version()) != task.code:
        return [f"has another version of the project ({code}, the search has {task.code})"]
    here = packages()
    return [
        f"has {name} {here[name]}, the search {value}" for name, value in task.packages.items() if here[name] != value
    ]


def _data_faults(task: Task) -> list[str]:
    here = on_this_machine(task.pairs)
    pairs = (*here.train, *here.val)
    missing = [path for pair in pairs for path in (pair.before, pair.after) if not path.exists()]
    if missing:
        return [f"does not see {len(missing)} of the data set's {2 * len(pairs)} images, such as {missing[0]}"]
    sampled = pairs[:: max(1, len(pairs) // SAMPLED_PAIRS)]
    others = [pair for pair in sampled if _digest(pair) != pair.images_digest]
    return [f"sees other images than the search, such as {others[0].before}"] if others else []


def _digest(pair: Pair) -> str:
    try:
        return images_digest(pair.before, pair.after)
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


def _model_faults(task: Task) -> list[str]:
    """Loading it is what a trial does first; from the hub it is fetched now, unless this node has it."""
    faults = []
    for checkpoint in map(checkpoint_of, task.models):
        try:
            load_processor(checkpoint)
            load_model(checkpoint, task.pairs.names)
        except ModelError as error:
            faults.append(f"cannot load the model: {error}")
    return faults


def _device_faults(task: Task) -> list[str]:
    if not task.gpus:
        return []
    if not torch.cuda.is_available():
        return ["Ray gives it a GPU that torch cannot use: the driver does not fit, or torch is a build without CUDA"]
    faults = []
    for index in range(torch.cuda.device_count()):
        try:
            torch.ones(64, device=f"cuda:{index}").sum().item()
        except RuntimeError as error:  # Also what torch raises for a device that is out of order.
            why = str(error).splitlines()[0]
            name = f"{ray.get_gpu_ids()[index]} ({torch.cuda.get_device_name(index)})"
            faults.append(f"its GPU {name} runs no kernel: {why}; start Ray there with CUDA_VISIBLE_DEVICES without it")
    return faults


def _memory_faults(task: Task) -> list[str]:
    if task.trial.gpus and not task.gpus:
        return []  # None is free to be looked at.
    fault = memory_fault(task.trial, task.trials)
    return [fault] if fault else []


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def packages() -> dict[str, str]:
    """The versions of the libraries that decide a trial's result."""
    import optuna
    import transformers

    return {"ray": ray.__version__, "torch": torch.__version__, "transformers": transformers.__version__} | {
        "optuna": optuna.__version__
    }
