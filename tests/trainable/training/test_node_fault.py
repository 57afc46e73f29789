"""What is a node's fault is told from what is a trial's."""

import errno
from pathlib import Path

import pytest
import torch

from trainable.detector.loading import ModelError
from trainable.storage.cache_folder import NoHomeError
from trainable.storage.remote import StorageError
from trainable.training.node_fault import node_fault

OWN = Path("/home/me/.cache/run")


@pytest.mark.parametrize(
    ("error", "begins"),
    [
        (ModelError("model /m: neither a folder"), "cannot load what the search could: model /m"),
        (torch.AcceleratorError("CUDA error: unspecified launch failure\nmore"), "its GPU has given out: CUDA"),
        (RuntimeError("CUDA unknown error - this may be due to"), "its GPU cannot be used: CUDA unknown error"),
        (RuntimeError("Found no NVIDIA driver on your system."), "its GPU cannot be used: Found no NVIDIA driver"),
        (RuntimeError("unable to allocate shared memory(shm) for file"), "has no shared memory left: unable"),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error."), "has no shared memory left: "),
        (OSError(errno.ENOSPC, "No space left on device", "/dev/shm/torch_1"), "has no shared memory left: "),
        (NoHomeError("no cache folder: this user has no home"), "has no cache folder"),
    ],
)
def test_a_nodes_own_reasons_are_told_in_a_line(error, begins):
    fault = node_fault(error)
    assert fault.startswith(begins) and "\n" not in fault


@pytest.mark.parametrize(
    "error",
    [
        FloatingPointError("val_loss is nan"),
        RuntimeError("shape '[2]' is invalid for input of size 3"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        OSError(errno.ENOSPC, "No space left on device", "/shared/runs/one"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "before/1.png"),
    ],
)
def test_a_trials_own_failure_is_no_nodes_fault(error):
    assert node_fault(error) is None


def test_the_nodes_own_disk_is_the_nodes_and_the_storage_is_not():
    full = OSError(errno.ENOSPC, "No space left on device", str(OWN / "weights"))
    assert node_fault(full, OWN) == f"cannot write {OWN}: No space left on device"
    assert node_fault(StorageError("s3://bucket: cannot be reached"), OWN) is None
