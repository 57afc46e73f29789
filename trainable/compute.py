"""What of its machine a process computes with: decided once, where the process begins, and passed on from there."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
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


def total_memory(device: torch.device = CPU) -> int:
    """Bytes of memory that the device has, whoever uses them; on a CPU no more than the process's container may."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return min([psutil.virtual_memory().total, *container_limits()])


def container_limits(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> Iterator[int]:
    """Bytes that the process's control groups may take, of either version and as far as they say.

    Args:
        groups: where they are mounted. In a container, its own is often the root of what it sees.
        own: which ones are the process's, a line each: `0::/path`, or `4:memory:/path` in version 1.
    """
    with contextlib.suppress(OSError):
        for _, kind, path in (line.split(":", 2) for line in own.read_text().splitlines()):
            if kind not in ("", "memory"):
                continue
            root, name = (groups / kind, "memory.limit_in_bytes") if kind else (groups, "memory.max")
            inner = root / path.strip("/")
            for folder in {root, inner, *(parent for parent in inner.parents if parent.is_relative_to(root))}:
                with contextlib.suppress(OSError, ValueError):  # "max" is no number.
                    yield int((folder / name).read_text())


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
    yield torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
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
