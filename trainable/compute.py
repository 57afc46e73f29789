"""What of its machine a process computes with: decided once, where the process begins, and passed on from there."""

from dataclasses import dataclass

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
