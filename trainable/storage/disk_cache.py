"""Byte records on disk that all processes of a node share: made once, by whoever needs them first.

A file is filled as a whole by the first process that needs it, while the others that need it wait: a trial reads every
record in its first epoch anyway, so nothing is made in vain, and no reader has to ask whether a record is there yet.

It is read with `pread`, not mapped into memory: all processes share the same page cache, and a file that was cut short
is a checksum that does not match where a mapped one would kill the process (SIGBUS).
"""

import contextlib
import fcntl
import logging
import os
import shutil
import weakref
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path

from trainable.storage.cache_folder import cache_folder

_CHECKSUM_BYTES = 4
_log = logging.getLogger(__name__)


def open_disk_cache(
    kind: str,
    key: str,
    sizes: Mapping[str, int],
    make: Callable[[str], bytes],
    cache_bytes: int,
    cache: Path | None = None,
    threads: int | None = None,
) -> "DiskCache | None":
    """The store of these records on this node, filled if it is not there yet. Any number of processes may call this.

    Args:
        kind: what the records are, in the plural, as messages call them; also the name of their folder in the cache.
        key: what the records depend on, as a file name.
        sizes: bytes of each record, by name.
        make: gives a record by name; must be picklable if the store is to be.
        cache_bytes: most bytes of all stores of the cache together, whatever their kind. Before one is added, the least
            recently used ones that nobody has open are dropped to make room. 0 turns the store off.
        cache: folder to keep it in; the user's cache folder by default, which follows `XDG_CACHE_HOME`.
        threads: that call `make` side by side; a few more than there are cores by default. With 1 it is this one.

    Returns:
        The store; None where it is off or has no room, or the folder cannot be used, which is then logged.

    Raises:
        Exception: what `make` raises, beside `OSError`; no file is left then.
    """
    if not cache_bytes:
        return None
    try:
        store = DiskCache((cache or cache_folder()) / kind / f"{key}.records", sizes, make)
        if store.bytes > cache_bytes:
            raise OSError(f"they take {_gigabytes(store.bytes)}, --cache-size allows {_gigabytes(cache_bytes)}")
        while not store.opened():
            store.path.parent.mkdir(parents=True, exist_ok=True)
            if store.begun(cache_bytes):
                store.fill(threads)
                break
            store.wait()
    except OSError as error:
        _log.warning("%s are not cached, every trial makes its own: %s", kind, error)
        return None
    return store


class DiskCache:
    """Records in a file, by name; made by `open_disk_cache`.

    The file holds one record after the other, in the order of their names, then the CRC-32 of each. An open store holds
    a shared lock on it, which keeps it from being dropped; whoever fills it, an exclusive one.

    Attributes:
        path: the file. While it is filled it ends in `.unfinished`.
        bytes: its size.
    """

    def __init__(self, path: Path, sizes: Mapping[str, int], make: Callable[[str], bytes]):
        names = sorted(sizes)
        self._index = {name: index for index, name in enumerate(names)}
        self._offsets = list(accumulate((sizes[name] for name in names), initial=0))
        self._make = make
        self._lock = path.parent.parent / "lock"
        self.path = path
        self.bytes = self._offsets[-1] + _CHECKSUM_BYTES * len(names)

    def __getitem__(self, name: str) -> bytes:
        """The record; made anew where the file is damaged.

        Raises:
            KeyError: there is no such name among those that the store was opened for.
            Exception: it is damaged, and `make` raises this.
        """
        index = self._index[name]
        record = self._read(self._offsets[index], self._offsets[index + 1] - self._offsets[index])
        if _checksum(record) == self._read(self._checksum_offset(index), _CHECKSUM_BYTES):
            return record
        _log.warning("%s is damaged at %s, which is made anew", self.path, name)
        record = self._make(name)
        with contextlib.suppress(OSError):
            self._write(name, record)
        return record

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_file"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        if not self.opened():
            raise FileNotFoundError(f"{self.path}: it was dropped from the cache; start the trial again")

    def opened(self) -> bool:
        """Opens the file, if it is there and whole, and marks it as used now."""
        try:
            file = os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            return False
        if os.fstat(file).st_size != self.bytes:
            os.close(file)
            return False
        self._hold(file, fcntl.LOCK_SH)
        os.utime(self._file)
        return True

    def begun(self, cache_bytes: int) -> bool:
        """Makes room for the file and begins it, unless another process has done so; whether it did.

        Raises:
            OSError: there is no room; the message says why.
        """
        # One lock for all stores of the cache: what has room depends on all of them.
        with _locked(self._lock):
            if self.path.exists() and self.path.stat().st_size == self.bytes:
                return False
            # A process that died while it filled one left it.
            for unfinished in self._lock.parent.glob("*/*.unfinished"):
                _drop(unfinished)
            if self._unfinished.exists():
                return False
            if self.path.exists():
                _log.warning("%s is damaged and is made anew", self.path)
                self.path.unlink()
            _make_room(self._lock.parent, self.bytes, cache_bytes)
            self._hold(os.open(self._unfinished, os.O_RDWR | os.O_CREAT, 0o600), fcntl.LOCK_EX)
            # At its full size from the start, so that others count it when they make room.
            os.ftruncate(self._file, self.bytes)
            return True

    def wait(self) -> None:
        """Waits until no process is filling the file any more, be it whole by then or not."""
        with contextlib.suppress(FileNotFoundError), self._unfinished.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)

    def fill(self, threads: int | None = None) -> None:
        """Makes every record of the file that was `begun`; it appears under its name only when whole."""
        whole = False
        try:
            _for_all(list(self._index), lambda name: self._write(name, self._make(name)), threads)
            os.fsync(self._file)
            whole = True
        finally:
            # In one go, so that nobody finds the file under its name and drops it between two locks.
            with _locked(self._lock):
                if whole:
                    self._unfinished.replace(self.path)
                else:
                    self._unfinished.unlink(missing_ok=True)
                fcntl.flock(self._file, fcntl.LOCK_SH)

    @property
    def _unfinished(self) -> Path:
        return self.path.with_suffix(".unfinished")

    def _write(self, name: str, record: bytes) -> None:
        index = self._index[name]
        assert len(record) == self._offsets[index + 1] - self._offsets[index]
        for data, offset in ((record, self._offsets[index]), (_checksum(record), self._checksum_offset(index))):
            if os.pwrite(self._file, data, offset) < len(data):
                raise OSError(f"{self.path}: a record could be written in part only")

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file, size, offset)

    def _checksum_offset(self, index: int) -> int:
        return self._offsets[-1] + _CHECKSUM_BYTES * index

    def _hold(self, file: int, lock: int) -> None:
        """Keeps an open file, locked, for as long as this store lives."""
        self._file = file
        weakref.finalize(self, os.close, file)
        fcntl.flock(file, lock)


def _checksum(record: bytes) -> bytes:
    return zlib.crc32(record).to_bytes(_CHECKSUM_BYTES, "little")


def _for_all(names: list[str], task: Callable[[str], None], threads: int | None) -> None:
    if threads == 1:
        for name in names:
            task(name)
        return
    pool = ThreadPoolExecutor(threads)
    try:
        for result in [pool.submit(task, name) for name in names]:
            result.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _make_room(root: Path, needed: int, limit: int) -> None:
    """Drops stores that nobody has open, the least recently used first, until `needed` bytes more are within `limit`.

    Raises:
        OSError: that many cannot be had; the message says why.
    """
    stores = {path: path.stat() for path in (*root.glob("*/*.records"), *root.glob("*/*.unfinished"))}
    taken = sum(stat.st_size for stat in stores.values())
    for path, stat in sorted(stores.items(), key=lambda item: item[1].st_mtime_ns):
        if taken + needed > limit and _drop(path):
            taken -= stat.st_size
    if taken + needed > limit:
        raise OSError(
            f"they take {_gigabytes(needed)} beside {_gigabytes(taken)} in use, --cache-size allows {_gigabytes(limit)}"
        )
    if (free := shutil.disk_usage(root).free) < needed:
        raise OSError(f"they take {_gigabytes(needed)}, the disk of {root} has {_gigabytes(free)} left")


def _drop(store: Path) -> bool:
    """Deletes a store unless a process has it open; whether it did."""
    with store.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        store.unlink()
        return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits until no other process is in here with the same file."""
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
