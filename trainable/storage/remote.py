"""A folder in a storage of pyarrow's: `s3://`, `gs://`, `abfs://`, `hdfs://`, `file://`.

A storage that cannot be reached is tried again for a while, with longer and longer waits; what no waiting mends, such
as a bucket that does not exist, is an error at once. Files appear whole under their names or not at all.
"""

import contextlib
import errno
import functools
import logging
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode

import pyarrow
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem, copy_files

from trainable.storage.uri import UriParts, is_uri, unescaped_secret, without_secrets

__all__ = ["Remote", "StorageError", "StoredFile", "is_uri", "without_secrets"]

RETRY_SECONDS = 120.0
"""How long a storage that cannot be reached is tried again; what is tried last may end later."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 15.0
"""Seconds between two tries; each is twice the one before."""

_CHUNK = 16 << 20
"""Bytes a request: with pyarrow's own 256 KiB, a file of 30 MB takes over 100 requests."""

_ATOMIC = ("s3", "gcs", "abfs")
"""Storages where an object appears when all of it has been written; elsewhere a file is written aside and renamed."""

_QUERY = {
    # Without it a small object takes three requests instead of one, and some servers refuse an empty one.
    "s3": {"allow_delayed_open": "true"},
    # Google's client would go on for a quarter of an hour without a word.
    "gs": {"retry_limit_seconds": "10"},
}

_LASTING = re.compile(
    r"ACCESS_DENIED|NO_SUCH_BUCKET|INVALID_ACCESS_KEY_ID|SIGNATURE_DOES_NOT_MATCH|INVALID_CLIENT_TOKEN_ID|EXPIRED_TOKEN"
    r"|UNRECOGNIZED_CLIENT|Bucket '.*' not found|PERMISSION_DENIED|UNAUTHENTICATED|Authorization|Authentication"
    r"|ContainerNotFound"
)
"""What the texts of S3's, Google's and Azure's errors say of what another try would only meet again."""

_PASSING = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENETUNREACH, errno.EHOSTUNREACH),
    *(errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN),
}
"""Numbers of the errors of a mounted folder; other errors with a number are of this machine's disk or the user's
making."""

_UNFINISHED = ".unfinished"
_log = logging.getLogger(__name__)
Result = TypeVar("Result")


class StorageError(OSError):
    """A remote storage cannot be used, or could not be reached for long; the message names the file and the cause."""


@dataclass(frozen=True, order=True)
class StoredFile:
    """A file as a storage lists it; another content has another size or time, at least a second apart."""

    path: str
    """Relative to the folder that was listed."""
    bytes: int
    written: int
    """Seconds since the epoch by the storage's clock, rounded down."""


@dataclass(frozen=True)
class Remote:
    """A folder in a storage; it need not exist, nor does it where it holds no file.

    Paths are relative to it, with `/` between names. All methods but `at` raise `StorageError`.
    """

    uri: str
    """The URI as pyarrow reads it, such as `s3://bucket/runs/NAME?region=eu-west-1`; blanks and the like are `%20`."""
    retry_seconds: float = RETRY_SECONDS

    def __str__(self) -> str:
        """The URI without its query and without credentials, to be shown."""
        parts = UriParts.of(self.uri)
        return f"{parts.scheme}://{parts.host}{unquote(parts.path)}"

    @property
    def name(self) -> str:
        """The folder's own name."""
        return PurePosixPath(unquote(UriParts.of(self.uri).path)).name

    def at(self, path: str) -> "Remote":
        """The folder `path` within this one; the query stays at the end of the URI."""
        parts = UriParts.of(self.uri)
        within = f"{parts.path.rstrip('/')}/{quote(path)}"
        return replace(self, uri=f"{parts.scheme}://{parts.credentials}{parts.host}{within}{parts.query}")

    def write(self, path: str, data: bytes) -> None:
        """Makes or replaces a file."""

        def write(filesystem: FileSystem, target: str) -> None:
            with filesystem.open_output_stream(target) as stream:
                stream.write(data)

        self._retried(path, functools.partial(_written_whole, write=write))

    def read(self, path: str) -> bytes | None:
        """A small file's bytes, None where it is not there."""

        def read(filesystem: FileSystem, source: str) -> bytes | None:
            try:
                with filesystem.open_input_stream(source, buffer_size=_CHUNK) as stream:
                    return bytes(stream.readall())
            except FileNotFoundError:
                return None

        return self._retried(path, read)

    def upload(self, source: Path, path: str) -> None:
        """Makes or replaces a file with the bytes of a local one.

        Raises:
            OSError: the local file cannot be read.
        """

        # Not by `copy_files`: it does not tell of an object that could not be finished (read in pyarrow 26).
        def upload(filesystem: FileSystem, target: str) -> None:
            file.seek(0)
            # Before the object is opened, which would be finished with what there is when the reading fails.
            chunk = file.read(_CHUNK)
            with filesystem.open_output_stream(target) as stream:
                while chunk:
                    stream.write(chunk)
                    chunk = file.read(_CHUNK)

        with source.open("rb") as file:
            self._retried(path, functools.partial(_written_whole, write=upload))

    def download(self, path: str, target: Path) -> bool:
        """Copies a file to a local one, which is not whole until this returns; False where there is none."""

        def download(filesystem: FileSystem, source: str) -> bool:
            try:
                copy_files(source, str(target), filesystem, LocalFileSystem(), chunk_size=_CHUNK)
            except FileNotFoundError:
                return False
            return True

        return self._retried(path, download)

    def names(self, path: str = "") -> list[str]:
        """Names of the files that lie directly in a folder and of the folders that hold any, in order."""
        # Not by pyarrow's listing of one level: in a Google storage that has no folders (read in pyarrow 26).
        return sorted({name.partition("/")[0] for name in self.files(path)} - {""})

    def files(self, path: str = "") -> list[str]:
        """Paths, relative to `path`, of all files below it, in order; `[""]` where it is a file itself."""
        return [file.path for file in self.listing(path)]

    def listing(self, path: str = "") -> list[StoredFile]:
        """All files below `path`, in order; as `files` gives them, with size and time."""

        def listing(filesystem: FileSystem, folder: str) -> list[StoredFile]:
            info = filesystem.get_file_info(folder)
            if info.type == FileType.File:
                return [_stored("", info)]
            infos = filesystem.get_file_info(FileSelector(folder, allow_not_found=True, recursive=True))
            files = [(PurePosixPath(info.path), info) for info in infos if info.type == FileType.File]
            return sorted(
                _stored(path.relative_to(folder).as_posix(), info) for path, info in files if path.suffix != _UNFINISHED
            )

        return self._retried(path, listing)

    def written(self, path: str) -> float | None:
        """When a file was last written, seconds since the epoch by the storage's clock; None where it is not there."""
        info = self._retried(path, lambda filesystem, target: filesystem.get_file_info(target))
        return info.mtime.timestamp() if info.type == FileType.File else None

    def drop(self, path: str) -> None:
        """Deletes a file, or a folder with all that it holds, if it is there."""

        def drop(filesystem: FileSystem, target: str) -> None:
            kind = filesystem.get_file_info(target).type
            with contextlib.suppress(FileNotFoundError):  # Another process was faster.
                if kind == FileType.File:
                    filesystem.delete_file(target)
                elif kind == FileType.Directory:
                    filesystem.delete_dir(target)

        self._retried(path, drop)

    def _retried(self, path: str, task: Callable[[FileSystem, str], Result]) -> Result:
        """What `task` gives for the filesystem and the path in it; tried again while the storage cannot be reached."""
        remote = self.at(path) if path else self
        if fault := unescaped_secret(self.uri):
            raise StorageError(f"{remote}: {fault}")
        started, wait = time.monotonic(), FIRST_WAIT
        while True:
            try:
                filesystem, root = _filesystem(_base(self.uri))
                return task(filesystem, root + unquote(UriParts.of(remote.uri).path).rstrip("/"))
            except (OSError, pyarrow.ArrowInvalid) as error:
                tried, why = time.monotonic() - started, self._said_of(error)
                if not _is_passing(error):
                    raise StorageError(f"{remote}: cannot be used: {why}") from None
                if tried + wait > self.retry_seconds:
                    raise StorageError(f"{remote}: cannot be reached for {tried:.0f} s: {why}") from None
                if wait == FIRST_WAIT:
                    _log.warning(
                        "%s: cannot be reached and is tried again for %g s: %s", remote, self.retry_seconds, why
                    )
            time.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    def _said_of(self, error: Exception) -> str:
        """An error's text without secrets, of which the URI in it may have any characters."""
        text = str(error)
        for uri in (self.uri, _base(self.uri)):
            text = text.replace(uri, without_secrets(uri))
        return without_secrets(text)


def _stored(path: str, info: FileInfo) -> StoredFile:
    return StoredFile(path, info.size, int(info.mtime.timestamp()) if info.mtime else 0)


def _written_whole(filesystem: FileSystem, target: str, write: Callable[[FileSystem, str], None]) -> None:
    """Has `write` write a file that appears whole under its name."""
    if filesystem.type_name in _ATOMIC:
        write(filesystem, target)
        return
    scratch = f"{target}.{uuid.uuid4().hex}{_UNFINISHED}"
    filesystem.create_dir(str(PurePosixPath(target).parent), recursive=True)
    write(filesystem, scratch)
    filesystem.move(scratch, target)


def _base(uri: str) -> str:
    """The URI of the storage itself: without the path, with what `_QUERY` adds."""
    parts = UriParts.of(uri)
    query = _QUERY.get(parts.scheme, {}) | dict(parse_qsl(parts.query[1:]))
    return f"{parts.scheme}://{parts.credentials}{parts.host}/" + (f"?{urlencode(query)}" if query else "")


@functools.lru_cache
def _filesystem(base: str) -> tuple[FileSystem, str]:
    """The filesystem, and what its paths begin with: a bucket's name, or nothing."""
    filesystem, root = FileSystem.from_uri(base)
    return filesystem, root.rstrip("/")


def _is_passing(error: Exception) -> bool:
    """Whether the same may succeed later."""
    if not isinstance(error, OSError):
        return False
    if error.errno is not None:
        return error.errno in _PASSING
    return not _LASTING.search(str(error))
