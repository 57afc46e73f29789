"""A search whose raylet is gone does not wait for ever."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from search.raylet import ended_with_raylet


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A child of this process that is called so."""
    program = shutil.copy(shutil.which("sleep") or "sleep", tmp_path / "raylet")
    with subprocess.Popen([program, "60"]) as process:
        yield process
        process.kill()


def test_the_process_is_ended_after_a_raylet_that_died(raylet):
    ended = threading.Event()
    with ended_with_raylet(ended.set, grace=0, every=0.01):
        assert not ended.wait(0.1)
        raylet.kill()
        assert ended.wait(10), "it is a zombie, as that of a driver that does not notice"


def test_ray_has_time_to_end_it_by_itself(raylet):
    ended = threading.Event()
    with ended_with_raylet(ended.set, grace=60, every=0.01):
        raylet.kill()
        assert not ended.wait(0.2)


def test_a_raylet_that_ends_after_the_search_ends_nothing(raylet):
    ended = threading.Event()
    with ended_with_raylet(ended.set, grace=0, every=0.01):
        pass
    raylet.kill()
    assert not ended.wait(0.1)
