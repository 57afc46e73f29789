"""Where a machine works on a run that lies in a remote storage: a folder of its own in the user's cache."""

import contextlib
import hashlib
import os
import shutil
import time
from pathlib import Path

from trainable.storage.cache_folder import cache_folder
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote

UNUSED_SECONDS = 14 * 24 * 3600
"""Seconds after which what a killed search or worker has left is deleted; all that counts is in the storage."""


def working_mirror(run: Remote) -> Mirror:
    """A run in a storage, and this machine's folder for it; asked on each machine, since their caches may differ."""
    digest = hashlib.sha256(run.uri.encode()).hexdigest()[:16]
    return Mirror(run, _cache().resolve() / digest / run.name)


def begin_work(mirror: Mirror) -> None:
    """Makes the working folder, and deletes those of runs that nobody has worked on here for `UNUSED_SECONDS`."""
    mirror.local.mkdir(parents=True, exist_ok=True)
    os.utime(mirror.local.parent)
    for other in _cache().iterdir():
        with contextlib.suppress(FileNotFoundError):  # Another process was faster.
            if time.time() - other.stat().st_mtime > UNUSED_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


def _cache() -> Path:
    return cache_folder() / "runs"
