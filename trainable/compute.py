"""What of its machine a process computes with: decided once, where the process begins, and passed on from there."""

import contextlib
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Compute:
    """A device, and the cores beside it; one thread on the CPU unless told otherwise."""

    device: torch.device = CPU
    """The one that a model and its batches are on."""
    threads: int = 1
    """Of torch in this process."""
    workers: int = 0
    """Processes that load images beside this one, of one thread each."""


ON_CPU = Compute()


def compute_with(cpus: int, gpus: float = 1.0) -> Compute:
    """What a process makes of its share of the machine.

    Without a GPU all cores compute. Beside one, a core drives it and the others load images: threads and loader
    workers together are never more than `cpus`.

    Args:
        cpus: cores that the process may use, at least 1.
        gpus: GPUs that it may use; with 0 it computes on the CPU, whatever the machine has.
    """
    device = usable_device(gpus)
    if device.type == "cpu":
        return Compute(device, threads=cpus)
    return Compute(device, threads=1, workers=cpus - 1)


def usable_device(gpus: float = 1.0) -> torch.device:
    """The GPU, where the process may use one and torch can; else the CPU."""
    return torch.device("cuda") if gpus and torch.cuda.is_available() else CPU


def memory_share(gpus: float, trials: int) -> int:
    """Bytes that a trial on this machine may count on: of its GPU or its share of one, else of the machine.

    Args:
        gpus: GPUs of a trial; 0 where it trains on the CPU.
        trials: that the machine has room for beside each other.
    """
    if usable_device(gpus).type == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory * gpus)
    return machine_memory() // trials


def machine_memory(system: Path = Path("/")) -> int:
    """Bytes of memory that this process may use: the machine's, or what its control groups leave it.

    Args:
        system: where `proc` and `sys` are found.
    """
    return min([os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_group_limits(system)])


def most_memory(device: torch.device) -> int:
    """Bytes that this process has taken of the device's memory at most; on a CPU, also for trials before this one."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _group_limits(system: Path) -> Iterator[int]:
    """The limits of the control groups that this process is in, and of those that they are in."""
    try:
        groups = [line.split(":", 2)[1:] for line in (system / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for controllers, path in groups:
        if "memory" in controllers.split(","):
            root, name = system / "sys/fs/cgroup/memory", "memory.limit_in_bytes"  # version 1
        elif not controllers:
            root, name = system / "sys/fs/cgroup", "memory.max"
        else:
            continue
        for group in (Path(path), *Path(path).parents):
            # In a container, only the outermost of these paths may be there, and it is the container's own group.
            with contextlib.suppress(OSError, ValueError):
                yield int((root / group.relative_to("/") / name).read_text())  # or "max"


def computed_with(device: torch.device) -> list[Any]:
    """What the bits of a forward pass depend on beside model and input: the hardware, torch and how it is set here."""
    on_gpu = device.type == "cuda"
    return [
        torch.cuda.get_device_name(device) if on_gpu else torch.backends.cpu.get_cpu_capability(),
        torch.get_float32_matmul_precision(),
        torch.get_num_threads(),
        torch.__version__,
        *(_gpu_libraries() if on_gpu else ()),
    ]


def _gpu_libraries() -> Iterator[Any]:
    """cuDNN's version, whose algorithms differ, and whether float32 is multiplied as TF32, however that was set."""
    yield torch.backends.cudnn.version()
    yield torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    yield torch.backends.cuda.matmul.fp32_precision
    yield torch.backends.fp32_precision  # type: ignore[attr-defined]
    yield os.environ.get("NVIDIA_TF32_OVERRIDE")


@contextlib.contextmanager
def repeating_cudnn() -> Iterator[None]:
    """Has cuDNN choose its algorithms without timing them, and only such as give the same bits each time."""
    cudnn = torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
