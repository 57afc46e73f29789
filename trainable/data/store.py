"""Differences once: a file on each node that keeps what all trials would decode, subtract and resize again.

The file is filled as a whole by the first process that needs it, while the others wait: a trial's first epoch reads
every picture anyway, so nothing is made in vain, and no reader has to ask whether a picture is there yet.

It is read with `pread`, not mapped into memory: all processes share the same page cache, and a file that was cut short
is a checksum that does not match where a mapped one would kill the process (SIGBUS).
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import weakref
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import platformdirs
import transformers
from numpy.typing import NDArray
from transformers import DetrImageProcessorPil

from trainable.data.difference import PictureError
from trainable.data.pairs import Pair, pictures_digest
from trainable.data.resizing import resized_difference, resized_size

VERSION = 1
"""Goes up whenever `resized_difference` gives other pixels, or they are laid out in another way."""

_CHECKSUM_BYTES = 4
_log = logging.getLogger(__name__)


def open_store(
    pairs: Sequence[Pair], processor: DetrImageProcessorPil, cache_bytes: int, cache: Path | None = None
) -> "DifferenceStore | None":
    """The store of these pairs' differences on this node, filled if it is not there yet.

    Any number of processes may call this at once. A store goes by what its pixels depend on: the contents of the
    pictures, the processor's settings, the versions of this code, Pillow and transformers.

    Args:
        pairs: all pairs that will be asked for.
        processor: resizes them.
        cache_bytes: most bytes of all stores of the cache together. Before one is added, the least recently used ones
            that nobody has open are dropped to make room. 0 turns the store off.
        cache: folder to keep it in; the user's cache folder by default, which follows `XDG_CACHE_HOME`.

    Returns:
        The store; None where it is off or has no room, or the folder cannot be used, which is then logged.

    Raises:
        PictureError: a picture cannot be read, or is not the one that was checked; the message names the file.
        ValueError: the pictures of a pair now differ in size; the message names both files.
    """
    if not cache_bytes:
        return None
    folder = (cache or platformdirs.user_cache_path("moved-object-search", appauthor=False)) / "differences"
    store = DifferenceStore(folder, pairs, processor)
    try:
        if store.bytes > cache_bytes:
            raise OSError(f"they take {_gigabytes(store.bytes)}, --cache-size allows {_gigabytes(cache_bytes)}")
        if not store.opened():
            folder.mkdir(parents=True, exist_ok=True)
            # One lock for all stores: what has room depends on all of them.
            with _locked(folder / "lock"):
                if not store.opened():
                    store.discard_damaged()
                    _make_room(folder, store.bytes, cache_bytes)
                    store.fill(pairs)
    except OSError as error:
        _log.warning("differences are not cached, every trial makes its own: %s", error)
        return None
    return store


class DifferenceStore:
    """The resized differences of a data set, by the contents of their pictures; made by `open_store`.

    The file holds the pixels of one picture after the other, then the CRC-32 of each. Where they lie follows from the
    pairs' sizes. An open store holds a shared lock on it, which keeps it from being dropped.
    """

    def __init__(self, folder: Path, pairs: Sequence[Pair], processor: DetrImageProcessorPil):
        shapes = {pair.pictures_digest: (3, *resized_size(pair, processor)) for pair in pairs}
        self._shapes = dict(sorted(shapes.items()))
        self._index = {digest: index for index, digest in enumerate(self._shapes)}
        self._offsets = np.cumsum([0, *(np.prod(shape) for shape in self._shapes.values())]).tolist()
        self._processor = processor
        self.path = folder / f"{_key(processor, list(self._shapes))}.pixels"
        self.bytes = self._offsets[-1] + _CHECKSUM_BYTES * len(self._shapes)

    def __getitem__(self, pair: Pair) -> NDArray[np.uint8]:
        """The pair's `resized_difference`, uint8 [3, height, width], read-only; made anew where the file is damaged.

        Raises:
            KeyError: the pair is not among those that the store was opened for.
            PictureError, ValueError: it is damaged, and the pictures cannot be read any more.
        """
        index, shape = self._index[pair.pictures_digest], self._shapes[pair.pictures_digest]
        pixels = self._read(self._offsets[index], self._offsets[index + 1] - self._offsets[index])
        if _checksum(pixels) == self._read(self._checksum_offset(index), _CHECKSUM_BYTES):
            return np.frombuffer(pixels, np.uint8).reshape(shape)
        _log.warning("%s is damaged at pair %s, which is made anew", self.path, pair.id)
        picture = self._made(pair)
        with contextlib.suppress(OSError):
            self._write(index, picture)
        return picture

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_file"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        if not self.opened():
            raise FileNotFoundError(f"{self.path}: the differences of the data set are gone; start the trial again")

    def opened(self) -> bool:
        """Opens the file, if it is there and whole, and marks it as used now."""
        try:
            file = os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            return False
        if os.fstat(file).st_size != self.bytes:
            os.close(file)
            return False
        self._hold(file)
        os.utime(self._file)
        return True

    def discard_damaged(self) -> None:
        """Deletes the file if there is one; to be called where it could not be opened."""
        if self.path.exists():
            _log.warning("%s is damaged and is made anew", self.path)
            self.path.unlink()

    def fill(self, pairs: Sequence[Pair]) -> None:
        """Makes every picture and opens the file, which appears under its name only when whole."""
        unfinished = self.path.with_suffix(".unfinished")
        by_digest = {pair.pictures_digest: pair for pair in pairs}
        self._hold(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        pool = ThreadPoolExecutor()
        try:
            tasks = [pool.submit(self._make_and_write, by_digest[digest]) for digest in self._shapes]
            for task in tasks:
                task.result()
            os.fsync(self._file)
            unfinished.replace(self.path)
        finally:
            pool.shutdown(cancel_futures=True)
            unfinished.unlink(missing_ok=True)

    def _make_and_write(self, pair: Pair) -> None:
        self._write(self._index[pair.pictures_digest], self._made(pair))

    def _made(self, pair: Pair) -> NDArray[np.uint8]:
        picture = resized_difference(pair, self._processor)
        # What is kept under these contents' name must be theirs: later searches rely on it.
        if pictures_digest(pair.before, pair.after) != pair.pictures_digest:
            raise PictureError(f"{pair.before} or {pair.after} has changed since it was checked; start the search anew")
        return picture

    def _write(self, index: int, picture: NDArray[np.uint8]) -> None:
        assert picture.size == self._offsets[index + 1] - self._offsets[index]
        pixels = picture.tobytes()
        for data, offset in ((pixels, self._offsets[index]), (_checksum(pixels), self._checksum_offset(index))):
            if os.pwrite(self._file, data, offset) < len(data):
                raise OSError(f"{self.path}: a picture could be written in part only")

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file, size, offset)

    def _checksum_offset(self, index: int) -> int:
        return self._offsets[-1] + _CHECKSUM_BYTES * index

    def _hold(self, file: int) -> None:
        """Keeps an open file, with a shared lock on it, for as long as this store lives."""
        self._file = file
        weakref.finalize(self, os.close, file)
        fcntl.flock(file, fcntl.LOCK_SH)


def _key(processor: DetrImageProcessorPil, digests: list[str]) -> str:
    depends_on = [VERSION, PIL.__version__, transformers.__version__, processor.to_dict(), digests]
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True, default=str).encode()).hexdigest()


def _checksum(pixels: bytes) -> bytes:
    return zlib.crc32(pixels).to_bytes(_CHECKSUM_BYTES, "little")


def _make_room(folder: Path, needed: int, limit: int) -> None:
    """Drops stores that nobody has open, the least recently used first, until `needed` bytes more are within `limit`.

    Raises:
        OSError: that many cannot be had; the message says why.
    """
    # A process that died while it filled one left it; whoever holds the folder's lock is the only one that fills.
    for unfinished in folder.glob("*.unfinished"):
        unfinished.unlink()
    stores = {path: path.stat() for path in folder.glob("*.pixels")}
    taken = sum(stat.st_size for stat in stores.values())
    for path, stat in sorted(stores.items(), key=lambda item: item[1].st_mtime_ns):
        if taken + needed > limit and _drop(path):
            taken -= stat.st_size
    if taken + needed > limit:
        raise OSError(
            f"they take {_gigabytes(needed)} beside {_gigabytes(taken)} in use, --cache-size allows {_gigabytes(limit)}"
        )
    if (free := shutil.disk_usage(folder).free) < needed:
        raise OSError(f"they take {_gigabytes(needed)}, the disk of {folder} has {_gigabytes(free)} left")


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
