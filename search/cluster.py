"""Ray itself: starting or joining it, and what of it a trial gets."""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import ray

from search.options import Options
from search.run_folder import PROJECT

Result = TypeVar("Result")

MOST_CPUS = 4
"""Cores that a trial gets beside its GPU unless told otherwise: it takes one, the others load pictures."""


class ClusterError(RuntimeError):
    """Ray cannot be reached, or has not what a trial needs; the message says what to do."""


@dataclass(frozen=True)
class Resources:
    """What one trial gets, and how many run at a time."""

    cpus: int
    gpus: float
    concurrent: int
    """Trials that fit now, or that were asked for."""
    limit: int | None = None
    """Trials at a time at most; None where as many run as the cluster has room for, as it grows and shrinks."""


@contextlib.contextmanager
def connected(options: Options) -> Iterator[Resources]:
    """Ray, as long as this lasts.

    Raises:
        ClusterError: there is no such cluster, or not one trial fits this machine.
    """
    try:
        yield connect(options)
    finally:
        ray.shutdown()


def connect(options: Options) -> Resources:
    """Starts Ray here, or joins the cluster at `--address`, and works out how many trials fit.

    Raises:
        ClusterError: there is no such cluster, or not one trial fits this machine.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Of snapshots that nobody reads and of processes that died; the search has its own way to tell of a full disk and
    # of what became of a trial.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    try:
        ray.init(
            address=options.address or "local",
            include_dashboard=None if options.address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=_what_travels() if options.address else None,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"Ray at {options.address or 'this machine'} cannot be used: {error}") from None
    return _resources(options, [node["Resources"] for node in ray.nodes() if node["Alive"]])


def _what_travels() -> dict[str, Any]:
    """This project's code, for nodes that have none or another version of it, and what Ray reads on the workers.

    The packages alone, not the working directory: pictures and runs that lie beside them must not be uploaded.
    """
    packages = [str(PROJECT / name) for name in ("trainable", "spaces", "results", "search")]
    passed_on = {name: os.environ[name] for name in ("TUNE_FUNCTION_THREAD_TIMEOUT_S",)}
    return {"py_modules": packages, "env_vars": passed_on}


def _resources(options: Options, nodes: Sequence[Mapping[str, float]]) -> Resources:
    """What a trial gets of what the nodes have; on a cluster, which may grow, also where no trial fits yet.

    Raises:
        ClusterError: not one trial fits this machine.
    """
    with_gpu = [node for node in nodes if node.get("GPU", 0)]
    gpus = options.gpus_per_trial if options.gpus_per_trial is not None else float(bool(with_gpu))
    beside_gpu = [int(node.get("CPU", 0) * gpus / node["GPU"]) for node in with_gpu] if gpus else []
    cpus = options.cpus_per_trial or max(1, min([MOST_CPUS, *beside_gpu] if beside_gpu else [1]))
    fit = sum(_fit(node, cpus, gpus) for node in nodes)
    if fit < 1 and not options.address:
        (here,) = nodes
        raise ClusterError(
            f"a trial needs {cpus} CPU(s) and {gpus:g} GPU(s), but Ray has {here.get('CPU', 0):g} and "
            f"{here.get('GPU', 0):g} in all; lower --cpus-per-trial or --gpus-per-trial"
        )
    limit = options.max_concurrent or (None if options.address else fit)
    return Resources(cpus, gpus, min(fit, limit or fit), limit)


def _fit(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    """Trials that a node has room for."""
    fit = int(node.get("CPU", 0) // cpus)
    return min(fit, int(node.get("GPU", 0)) * int(1 / gpus)) if gpus else fit  # A trial does not straddle two GPUs.


def on_trial_resources(options: Options, resources: Resources, task: Callable[[], Result]) -> Result:
    """Runs `task` on what a trial gets: here, or on a worker where the search runs on a cluster."""
    if options.address is None:
        return task()
    return ray.get(ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(lambda: task()).remote())
