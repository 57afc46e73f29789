"""When a trial fails for a reason of the node that it runs on: its recipe would do as well as any on another node."""

import re
from pathlib import Path

import torch

from trainable.detector.loading import ModelError
from trainable.storage.cache_folder import NoHomeError
from trainable.storage.remote import StorageError

_TRIALS_OWN = re.compile(r"device-side assert|illegal memory access", re.IGNORECASE)
"""What CUDA says of kernels that were given wrong numbers."""

_NO_DEVICE = re.compile(
    r"no CUDA GPUs are available|found no NVIDIA driver|CUDA driver|CUDA unknown error|no CUDA-capable device|"
    r"cudaGetDeviceCount|NVML",
    re.IGNORECASE,
)
"""In torch's errors without a type of their own, where a device cannot be used from the start."""

_NO_SHARED_MEMORY = re.compile(r"shared memory|\(shm\)|bus error", re.IGNORECASE)
"""In torch's errors, where processes that load images find no room to hand them over."""


def node_fault(error: BaseException, works_here: Path | None = None) -> str | None:
    """What is wrong with this node; None where a trial failed for another reason.

    Args:
        error: by which the trial ended.
        works_here: the folder of this node's own that the trial writes to, if that is not the run's.
    """
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    if isinstance(error, ModelError):
        return f"cannot load what the search could: {error}"
    if isinstance(error, torch.AcceleratorError):
        return None if _TRIALS_OWN.search(str(error)) else f"its GPU has given out: {first_line}"
    if isinstance(error, RuntimeError) and _NO_DEVICE.search(str(error)):
        return f"its GPU cannot be used: {first_line}"
    if isinstance(error, OSError) and str(error.filename or "").startswith("/dev/shm"):
        return f"has no shared memory left: {first_line}"
    if isinstance(error, RuntimeError) and _NO_SHARED_MEMORY.search(str(error)):
        return f"has no shared memory left: {first_line}"
    if isinstance(error, NoHomeError):
        return f"has {error}"
    if works_here and isinstance(error, OSError) and not isinstance(error, StorageError):
        return f"cannot write {works_here}: {error.strerror or error}"
    return None
