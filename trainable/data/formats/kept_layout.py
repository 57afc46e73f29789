"""Data sets of other formats as `--data` names them: made into our layout once, and kept in the user's cache."""

import hashlib
import tempfile
from pathlib import Path

from trainable.data.formats.frames import VIDEO_SUFFIXES
from trainable.data.formats.labelled import Labelled
from trainable.data.formats.layout_writer import write_layout
from trainable.data.formats.mot import Sampling, tracks_of
from trainable.data.formats.pairing import Rule
from trainable.data.formats.reading import format_of, read_format
from trainable.data.listing import files_by_id
from trainable.storage.cache_folder import cache_folder

_FILES = (".json", ".csv", *VIDEO_SUFFIXES)
_VERSION = 1
"""Names the folders in the cache; goes up whenever the same labels and images give another data set."""


def is_other_format(source: Path) -> bool:
    """Whether a path is labels of another format: by its suffix, or by what lies in a folder that is not ours."""
    if source.is_dir():
        ours = (source / "before").is_dir() or (source / "after").is_dir()
        return not ours and bool(tracks_of(source) or files_by_id(source, (".xml",)))
    return source.is_file() and source.suffix.lower() in _FILES


def kept_layout(source: Path, cache: Path | None = None) -> Path:
    """The folder of a data set of another format in our layout, as `convert.py` writes it unless told more.

    It is written when it is asked for first, or when labels or images have changed since.

    Args:
        source: labels of another format.
        cache: folder to keep it in; the user's cache folder by default.

    Raises:
        DataError: naming all that is wrong with the data.
        OSError: the cache folder cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="frames-") as scratch:
        found = read_format(source, format_of(source), None, Rule(), Sampling(), Path(scratch))
        folder = (cache or cache_folder()) / "converted" / f"{source.stem}-{_key(source, found)}"
        if found.faults or not folder.is_dir():
            try:
                write_layout(found, folder)
            except OSError:
                # Another process may have been first.
                if not folder.is_dir():
                    raise
    return folder


def _key(source: Path, found: Labelled) -> str:
    """Of labels and images; the latter by name, size and time, those of a video by the video's."""
    video = source.suffix.lower() in VIDEO_SUFFIXES
    files = [source] if video else [image for pair in found.pairs for image in (pair.before, pair.after)]
    stamps = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    labels = [
        (pair.id, [[(box.name, box.left, box.top, box.width, box.height) for box in side] for side in sides])
        for pair in found.pairs
        for sides in [(pair.seen_before, pair.seen_after)]
    ]
    depends_on = repr((_VERSION, found.names, labels, stamps))
    return hashlib.sha256(depends_on.encode()).hexdigest()[:16]
