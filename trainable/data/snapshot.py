"""A data set in a bucket as it was at one time, and a machine's copy of it in the user's cache folder.

A copy is that of one listing: when other files lie in the bucket, theirs is another one, made beside it.
"""

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import astuple, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO

from trainable.data.faults import Fault
from trainable.storage.cache_folder import NoHomeError, cache_folder
from trainable.storage.durable_file import wait_for_disk
from trainable.storage.remote import Remote, StorageError, StoredFile, without_secrets
from trainable.storage.working_folder import UNUSED_SECONDS

THREADS = 16
"""Files that are fetched side by side: most of a small one's time is waiting."""

SAY_SECONDS = 10.0
"""Seconds between two lines on how much of a data set is here."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Snapshot:
    """Files of a folder in a storage as they were listed; made by `take_snapshot`, and goes to the workers."""

    remote: Remote
    """The folder."""
    parts: tuple[str, ...]
    """Files and folders within it that count."""
    files: tuple[StoredFile, ...]
    local: Path
    """The copy of the machine that listed them."""

    @property
    def size(self) -> str:
        """How many files these are and how large, as text."""
        return f"{len(self.files)} files, {_megabytes(self.files)}"

    def pull(self, say: Say = lambda line: None) -> Path:
        """Fetches what is not here yet, file by file, so that a pull that was cut off goes on where it stood.

        Any number of processes may call this at once: one fetches, the others wait. A copy is kept while a process
        lives that has asked for it; one that nobody has asked for in `UNUSED_SECONDS` is deleted.

        Args:
            say: called with a line when it begins, every `SAY_SECONDS`, and when it is done; not where all is here.

        Returns:
            The folder on this machine.

        Raises:
            StorageError: the storage cannot be used or reached, its files have changed, or the disk cannot take them;
                the message names the folder's URI.
        """
        copy = _copy_of(self.remote, self.files)
        try:
            _hold(copy.parent)
            with (copy.parent / "filling").open("ab") as filling:
                fcntl.flock(filling, fcntl.LOCK_EX)
                self._fill(copy, say)
            _drop_unused(copy.parent.parent.parent)
        except StorageError:
            raise
        except OSError as error:
            raise StorageError(f"{self.remote}: cannot be copied to {copy}: {error}") from error
        return copy

    def here(self) -> Path:
        """This machine's copy, pulled where it is not here whole; where it is, the storage is not asked.

        Raises:
            StorageError: as `pull`.
        """
        copy = _copy_of(self.remote, self.files)
        if not copy.exists():
            return self.pull()
        _hold(copy.parent)
        return copy

    def named(self, faults: Iterable[Fault]) -> tuple[Fault, ...]:
        """Faults of `local` with their files named as they are in the storage."""
        return tuple(replace(fault, file=self._name(fault.file)) for fault in faults)

    def names(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Paths in `local` as they are in the storage; all other texts as they are."""
        return tuple(map(self._name, paths))

    def _name(self, path: str) -> str:
        return path.replace(str(self.local), str(self.remote))

    def _fill(self, copy: Path, say: Say) -> None:
        """Makes the copy whole. It has its name when it first is; what goes missing later is fetched into it."""
        folder = copy if copy.exists() else copy.with_name("unfinished")
        for left in folder.rglob("*.unfinished"):  # By a process that was killed.
            left.unlink()
        _link_from_others(self.files, folder)
        if missing := [file for file in self.files if not _is(folder / file.path, file)]:
            self._fetch_all(missing, folder, say)
            if _listed(self.remote, self.parts) != self.files:
                raise self._changed("a file")
        folder.rename(copy)

    def _fetch_all(self, files: Sequence[StoredFile], folder: Path, say: Say) -> None:
        needed, free = _megabytes(files), shutil.disk_usage(folder.parent).free
        if free < sum(file.bytes for file in files):
            raise StorageError(
                f"{self.remote}: {needed} do not fit on the disk of {folder.parent}, which has {free / 1e6:,.1f} MB "
                "left; make room there, or set XDG_CACHE_HOME to a folder of another disk"
            )
        say(f"{self.remote}: pulling {len(files)} files, {needed}, into {folder.parent}")
        started = said = time.monotonic()
        done = []
        pool = ThreadPoolExecutor(THREADS)
        try:
            for task in as_completed([pool.submit(self._fetch, file, folder / file.path) for file in files]):
                done.append(task.result())
                if time.monotonic() - said > SAY_SECONDS:
                    said = time.monotonic()
                    say(f"{self.remote}: {_megabytes(done)} of {needed} pulled")
        finally:
            pool.shutdown(cancel_futures=True)
        say(f"{self.remote}: pulled in {time.monotonic() - started:.1f} s")

    def _fetch(self, file: StoredFile, target: Path) -> StoredFile:
        """Gives `target` the file's content, then its time: by size and time it is known again."""
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f"{uuid.uuid4().hex}.unfinished")
        try:
            if not self.remote.download(file.path, scratch) or scratch.stat().st_size != file.bytes:
                raise self._changed(file.path)
            wait_for_disk(scratch)
            os.utime(scratch, (file.written, file.written))
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
        return file

    def _changed(self, what: str) -> StorageError:
        return StorageError(
            f"{self.remote}: {what} has changed since the search listed the data; start it anew when nobody writes "
            "there any more"
        )


def take_snapshot(remote: Remote, parts: tuple[str, ...]) -> Snapshot:
    """Lists a data set.

    Args:
        remote: the folder that it lies in.
        parts: files and folders within it that belong to it; others are not looked at.

    Raises:
        StorageError: the storage cannot be used or reached, holds none of the parts, or an object has a name that leads
            out of the folder; the message names the URI.
    """
    files = _listed(remote, parts)
    if not files:
        raise StorageError(f"{remote}: no data set is there: none of {', '.join(parts)}; give the folder that holds it")
    if outside := [file.path for file in files if ".." in PurePosixPath(file.path).parts]:
        raise StorageError(f"{remote}: the name of {outside[0]} leads out of the folder; delete or rename the object")
    return Snapshot(remote, parts, files, _copy_of(remote, files))


def _listed(remote: Remote, parts: tuple[str, ...]) -> tuple[StoredFile, ...]:
    folders = tuple(f"{part}/" for part in parts)
    return tuple(file for file in remote.listing() if file.path in parts or file.path.startswith(folders))


def _copy_of(remote: Remote, files: Sequence[StoredFile]) -> Path:
    """Where this machine keeps a copy, in a folder that also holds its locks; copies of one URI lie side by side."""
    address = hashlib.sha256(without_secrets(remote.uri).encode()).hexdigest()[:16]
    version = hashlib.sha256(json.dumps([astuple(file) for file in files]).encode()).hexdigest()[:16]
    try:
        return cache_folder() / "data" / address / version / "files"
    except NoHomeError as error:
        raise StorageError(f"{remote}: {error}") from None


def _hold(home: Path) -> None:
    """Keeps a copy from being deleted as long as this process lives, and marks it as used now."""
    home.mkdir(parents=True, exist_ok=True)
    os.utime(_lock(home).fileno())


@functools.cache
def _lock(home: Path) -> IO[bytes]:
    lock = (home / "lock").open("ab")
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def _drop_unused(root: Path) -> None:
    """Deletes the copies that nobody has asked for in `UNUSED_SECONDS`, and that no living process has asked for."""
    for home in root.glob("*/*"):
        with contextlib.suppress(OSError), (home / "lock").open("r+b") as lock:  # In use, or just deleted by another.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(lock.fileno()).st_mtime > UNUSED_SECONDS:
                shutil.rmtree(home, ignore_errors=True)


def _link_from_others(files: Iterable[StoredFile], folder: Path) -> None:
    """Takes over, as second names, what copies of other listings have."""
    others = [other for other in folder.parent.parent.glob("*/*") if other != folder and other.is_dir()]
    for file in files:
        target = folder / file.path
        kept = None if _is(target, file) else next((o / file.path for o in others if _is(o / file.path, file)), None)
        if kept:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # It is fetched where the filesystem has no second names.
                os.link(kept, target)


def _is(path: Path, file: StoredFile) -> bool:
    """Whether a local file is this one of the storage."""
    try:
        stat = path.stat()
    except OSError:
        return False
    return (stat.st_size, int(stat.st_mtime)) == (file.bytes, file.written)


def _megabytes(files: Iterable[StoredFile]) -> str:
    return f"{sum(file.bytes for file in files) / 1e6:,.1f} MB"
