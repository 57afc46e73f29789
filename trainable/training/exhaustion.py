"""When a machine has not enough of something: what that looks like, and what a trial does about it."""

import dataclasses
import errno
import re
import shutil
from pathlib import Path

import torch

from trainable.recipe import Recipe
from trainable.storage.remote import StorageError

FULL_BYTES = 2**20
"""A disk with less room than this is full: what fails on it fails for that."""

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
"""Says in the texts of torch's errors that memory is out where they have no type of their own, such as that of its CPU
allocator."""

_GIVEN_OUT = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV),
    *(errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EHOSTUNREACH),
}
"""What a disk or a mounted folder says that is full or gone."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a trial failed since the device or the machine had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and bool(_NO_MEMORY.search(str(error)))


def with_half_micro_batch(recipe: Recipe) -> Recipe | None:
    """The recipe with half as many images at a time, and its step as it is; None where there is one at a time.

    Accumulation is exact, so it trains the same up to rounding and the draws of dropout.
    """
    if recipe.images_at_a_time == 1:
        return None
    return dataclasses.replace(recipe, micro_batch=recipe.images_at_a_time // 2)


def with_half_batch(recipe: Recipe) -> Recipe | None:
    """What earlier versions went on with in the place of the recipe; None where there was no such."""
    if recipe.batch_size % 2:
        return None
    return dataclasses.replace(
        recipe, batch_size=recipe.batch_size // 2, accumulation_steps=recipe.accumulation_steps * 2
    )


def storage_fault(error: BaseException, folder: Path) -> str | None:
    """Why a trial cannot go on until somebody has looked after the storage; None where it failed for another reason.

    Args:
        error: by which the trial ended.
        folder: that it writes to.
    """
    if isinstance(error, StorageError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _GIVEN_OUT:
        return f"{folder}: {error.strerror or error}"
    # torch and safetensors tell of a full disk in their own words, or in none.
    try:
        # A trial that has failed early has no folder; its run has one, unless the disk is gone.
        free = shutil.disk_usage(folder if folder.exists() else folder.parents[1]).free
    except OSError as unusable:
        return f"{folder}: {unusable.strerror or unusable}"
    return f"{folder}: the disk is full ({error})" if free < FULL_BYTES else None
