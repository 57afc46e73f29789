"""Ray itself: starting or joining it, and what of it a trial gets."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import ray

from search.options import Options

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


def connect(options: Options) -> Resources:
    """Starts Ray here, or joins the cluster at `--address`, and works out how many trials fit.

    Raises:
        ClusterError: there is no such cluster, or not one trial fits this machine.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Of snapshots that nobody reads; the search has its own way to say that the disk is full.
    logging.getLogger("ray.tune.execution.experiment_state").setLevel(logging.CRITICAL)
    try:
        ray.init(
            address=options.address or "local",
            include_dashboard=None if options.address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ClusterError(f"Ray at {options.address or 'this machine'} cannot be used: {error}") from None
    return _resources(options, ray.cluster_resources())


def _resources(options: Options, total: Mapping[str, float]) -> Resources:
    """What a trial gets of what Ray has in all; on a cluster, which may grow, also where no trial fits yet.

    Raises:
        ClusterError: not one trial fits this machine.
    """
    all_cpus, all_gpus = total.get("CPU", 0.0), total.get("GPU", 0.0)
    gpus = options.gpus_per_trial if options.gpus_per_trial is not None else min(1.0, all_gpus)
    beside_gpu = int(all_cpus * gpus / all_gpus) if gpus and all_gpus else 1
    cpus = options.cpus_per_trial or max(1, min(beside_gpu, MOST_CPUS))
    fit = int(all_cpus // cpus)
    if gpus:
        fit = min(fit, int(all_gpus) * int(1 / gpus))  # A trial does not straddle two GPUs.
    if fit < 1 and not options.address:
        raise ClusterError(
            f"a trial needs {cpus} CPU(s) and {gpus:g} GPU(s), but Ray has {all_cpus:g} and {all_gpus:g} in all; lower "
            "--cpus-per-trial or --gpus-per-trial"
        )
    limit = options.max_concurrent or (None if options.address else fit)
    return Resources(cpus, gpus, min(fit, limit or fit), limit)


def on_trial_resources(options: Options, resources: Resources, task: Callable[[], Result]) -> Result:
    """Runs `task` on what a trial gets: here, or on a worker where the search runs on a cluster."""
    if options.address is None:
        return task()
    return ray.get(ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(task).remote())
