"""Where a data set comes from: a folder or `data.yaml`, here or in a bucket, or labels of another format."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from trainable.data.faults import DataError, Fault
from trainable.data.formats.kept_layout import is_other_format, kept_layout
from trainable.data.pair import Pair
from trainable.data.pairs import PairData, read_pairs
from trainable.data.snapshot import take_snapshot
from trainable.storage.remote import Remote, StorageError, is_uri
from trainable.text.shown import shown
from trainable.text.yaml_file import YamlError, yaml_of

FOLDER_PARTS = ("before", "after", "labels", "classes.txt", "train.txt", "val.txt")
"""What a data set without a `data.yaml` is made of; whatever else lies beside it in a bucket is not pulled."""


def read_source(
    location: str | Path, say: Callable[[str], None] = lambda line: None, shared: Path | None = None, **how: Any
) -> PairData:
    """Reads a data set as `read_pairs` does; one in a bucket is pulled to this machine first.

    Args:
        location: a folder or a `data.yaml`, or the URI of one in a storage. What a `data.yaml` there names must lie
            below its own folder. On this machine also labels of another format, see `kept_layout`.
        say: told of a pull, see `Snapshot.pull`.
        shared: folder that other machines see too, for what is made of labels of another format; the user's cache
            folder by default.
        how: what else `read_pairs` takes.

    Raises:
        DataError: as `read_pairs` and `kept_layout`; files in a storage are named as they are there.
        StorageError: there is no data set at the URI, or it cannot be pulled.
    """
    if not is_uri(str(location)):
        if not is_other_format(Path(location)):
            return read_pairs(Path(location), **how)
        try:
            layout = kept_layout(Path(location), shared)
        except OSError as error:
            advice = "convert it by hand, by trainable/data/convert.py"
            raise DataError([Fault("cannot be converted", str(location), None, str(error), advice)]) from None
        return replace(read_pairs(layout, **how), location=str(location))
    folder, yaml = _split(str(location))
    snapshot = take_snapshot(folder, _yaml_parts(folder, yaml) if yaml else FOLDER_PARTS)
    copy = snapshot.pull(say)
    try:
        pairs = read_pairs(copy / yaml, **how)
    except DataError as error:
        raise DataError(snapshot.named(error.faults)) from None
    where = str(folder.at(yaml) if yaml else folder)
    notices = tuple(replace(notice, names=snapshot.names(notice.names)) for notice in pairs.notices)
    return replace(pairs, location=where, left_out=snapshot.named(pairs.left_out), snapshot=snapshot, notices=notices)


def on_this_machine(pairs: PairData) -> PairData:
    """The data set with the paths that its images have here; pulled, where it lies in a bucket and is not here yet.

    Raises:
        StorageError: it cannot be pulled, or has changed since it was read.
    """
    snapshot = pairs.snapshot
    if snapshot is None or (copy := snapshot.here()) == snapshot.local:
        return pairs

    def here(pair: Pair) -> Pair:
        before, after = (copy / path.relative_to(snapshot.local) for path in (pair.before, pair.after))
        return replace(pair, before=before, after=after)

    return replace(pairs, train=tuple(map(here, pairs.train)), val=tuple(map(here, pairs.val)))


def _split(uri: str) -> tuple[Remote, str]:
    """The folder at a URI, and the name of the `data.yaml` in it; empty where the URI is the folder's own."""
    address, mark, query = uri.partition("?")
    address = address.rstrip("/")
    yaml = PurePosixPath(unquote(urlsplit(address).path)).name if address.endswith((".yaml", ".yml")) else ""
    return Remote((address.rpartition("/")[0] if yaml else address) + mark + query), yaml


def _yaml_parts(folder: Remote, yaml: str) -> tuple[str, ...]:
    """A `data.yaml` and what it names; what is wrong with the rest of it is found when it is read.

    Raises:
        StorageError: it is not there, or its `path` leads out of the folder.
    """
    data = folder.read(yaml)
    if data is None:
        raise StorageError(f"{folder.at(yaml)}: there is no such file; give a folder or a data.yaml")
    try:
        fields = yaml_of(data)
    except YamlError:
        fields = None
    if not isinstance(fields, Mapping):
        return (yaml,)
    root = fields.get("path", ".")
    if not isinstance(root, str):
        return (yaml,)
    if root.startswith(("/", "~")) or ".." in PurePosixPath(root).parts:
        raise StorageError(f"{folder.at(yaml)}: path must lie below the file's own folder, got {shown(root)}")
    named = [fields.get(key, key) for key in ("before", "after", "labels")]
    named += [fields.get(key) for key in ("names", "train", "val")]
    paths = [name.replace("\\", "/") for name in named if isinstance(name, str)]
    return (yaml, *(posixpath.normpath(posixpath.join(root, path)) for path in paths))
