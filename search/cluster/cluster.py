"""Ray itself: starting or joining it, and what of it a trial gets."""

import contextlib
import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import ray
from ray._private.services import canonicalize_bootstrap_address
from ray.exceptions import RayError

from search.cluster.ground import GroundError, check_python, provide_token, session_folder
from search.cluster.head import answers
from search.options import Options
from search.raylet import ended_with_raylet
from search.run_folder.run_folder import PROJECT

Result = TypeVar("Result")

CONNECT_SECONDS = 10.0
"""So long for the first answer of a cluster's head."""

MOST_CPUS = 4
"""Cores that a trial gets beside its GPU unless told otherwise: it takes one, the others load images."""


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
def connected(options: Options, say: Callable[[str], None] = lambda note: None) -> Iterator[Resources]:
    """Ray, as long as this lasts.

    Args:
        options: say whether the search runs on a cluster, and what a trial gets.
        say: called with where Ray works, if that is not its usual folder.

    Raises:
        ClusterError: there is no such cluster, Ray cannot be started here, or not one trial fits this machine.
    """
    try:
        resources = connect(options, say)
        with ended_with_raylet():
            yield resources
    finally:
        ray.shutdown()


def connect(options: Options, say: Callable[[str], None] = lambda note: None) -> Resources:
    """Starts Ray here, or joins the cluster at `--address`, and works out how many trials fit.

    Raises:
        ClusterError: there is no such cluster, Ray cannot be started here, or not one trial fits this machine.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Of snapshots that nobody reads and of processes that died; the search has its own way to tell of a full disk and
    # of what became of a trial.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    where = f"at {options.address}" if options.address else "on this machine"
    try:
        folder = None if options.address else _ground(say)
        if options.address:
            _refuse_silent_head(options.address)
        # Ray puts the working directory first on its workers' path, before the project's packages. A user's file there
        # may have the name of one. The root has none; where packages do not travel, their own folder holds them.
        with contextlib.chdir("/" if options.address else PROJECT):
            ray.init(
                address=options.address or "local",
                include_dashboard=None if options.address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=_what_travels() if options.address else None,
                _temp_dir=folder,
            )
    except GroundError as error:
        raise ClusterError(str(error)) from None
    except (OSError, RuntimeError, ValueError, RayError) as error:
        works_in = f" (it works in {folder})" if folder else ""
        raise ClusterError(f"Ray {where} cannot be used{works_in}: {str(error) or type(error).__name__}") from None
    return _resources(options, [node["Resources"] for node in ray.nodes() if node["Alive"]])


def _refuse_silent_head(address: str) -> None:
    """Ray itself would ask a head that is not there again and again, for minutes.

    Raises:
        ConnectionError: nobody answers at the address.
        ValueError: it is none.
    """
    # What `auto` and RAY_ADDRESS stand for; there is no public way to ask (Ray 2.60).
    head = canonicalize_bootstrap_address(address)
    if head and not answers(head, CONNECT_SECONDS):
        raise ConnectionError(f"no head answers at {head}; start the cluster, or give the address of another")


def _ground(say: Callable[[str], None]) -> str:
    """The folder that Ray is to work in here, once all else that it needs is seen to.

    Raises:
        GroundError: it cannot be started here.
    """
    check_python()
    provide_token()
    # Read by the raylet (Ray 2.60). Tune's actors have a runtime environment, for which Ray does not take the workers
    # that it starts ahead: they would only load beside the first trial.
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    folder, why_not_usual = session_folder()
    if why_not_usual:
        say(f"Ray works in {folder}: {why_not_usual}")
    return str(folder)


def _what_travels() -> dict[str, Any]:
    """This project's code, for nodes that have none or another version of it, and what Ray reads on the workers.

    The packages alone, not the working directory: images and runs that lie beside them must not be uploaded.
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
    at_a_time = sum(fit(node, cpus, gpus) for node in nodes)
    if at_a_time < 1 and not options.address:
        (here,) = nodes
        raise ClusterError(
            f"a trial needs {cpus} CPU(s) and {gpus:g} GPU(s), but Ray has {here.get('CPU', 0):g} and "
            f"{here.get('GPU', 0):g} in all; lower --cpus-per-trial or --gpus-per-trial"
        )
    limit = options.max_concurrent or (None if options.address else at_a_time)
    return Resources(cpus, gpus, min(at_a_time, limit or at_a_time), limit)


def nodes_with_room(resources: Resources, but: Collection[str] = ()) -> dict[str, str]:
    """The living nodes that have what a trial needs, in words, by their ids.

    Args:
        resources: of a trial.
        but: ids of nodes that are left out.
    """
    return {
        node["NodeID"]: name_of(node)
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] not in but and fit(node["Resources"], resources.cpus, resources.gpus)
    }


def name_of(node: Mapping[str, Any]) -> str:
    """How a node is called in messages."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def gcs_address(options: Options) -> str | None:
    """`HOST:PORT` of the head of the cluster that the search has joined; None where it has started Ray here."""
    return ray.get_runtime_context().gcs_address if options.address else None


def fit(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    """Trials that a node has room for."""
    by_cpus = int(node.get("CPU", 0) // cpus)
    # A trial does not straddle two GPUs.
    return min(by_cpus, int(node.get("GPU", 0)) * int(1 / gpus)) if gpus else by_cpus


def on_trial_resources(options: Options, resources: Resources, task: Callable[[], Result]) -> Result:
    """Runs `task` on what a trial gets: here, or on a worker where the search runs on a cluster."""
    if options.address is None:
        return task()
    on_worker = ray.remote(num_cpus=resources.cpus, num_gpus=resources.gpus)(lambda: task())
    return cast(Result, ray.get(on_worker.remote()))
