"""Small data sets on disk."""

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from PIL import Image

MakePair = Callable[..., None]


@pytest.fixture
def make_pair(tmp_path: Path) -> MakePair:
    """Writes one faultless pair into `tmp_path`; arguments change what a test is about."""

    def make(
        id_: str, labels: str | bytes = "0 0.5 0.5 0.2 0.2\n", size: tuple[int, int] = (16, 12), suffix: str = ".png"
    ) -> None:
        for side, shade in (("before", 40), ("after", 90)):
            path = tmp_path / side / f"{id_}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size, (shade, shade, shade)).save(path)
        label = tmp_path / "labels" / f"{id_}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_bytes(labels.encode() if isinstance(labels, str) else labels)

    return make


@pytest.fixture
def make_pairs(make_pair: MakePair) -> Callable[[Iterable[str]], None]:
    """Writes a faultless pair for every id."""

    def make(ids: Iterable[str]) -> None:
        for id_ in ids:
            make_pair(id_)

    return make


NOBODY = 65534


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that everybody may enter; pytest's own are their owner's alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def as_ordinary_user() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Gives up, for a block, root's right to read whatever it likes, where the tests run as root."""

    @contextlib.contextmanager
    def without_rights() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)

    return without_rights
