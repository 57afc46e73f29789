"""How large libraries are imported."""

import gc
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from trainable.imports import begin_imports, uncollected


@pytest.fixture
def slow_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "slow_to_import.py").write_text(
        "import sys, time, types\n"
        "time.sleep(0.2)\n"
        "sys.modules[__name__] = types.SimpleNamespace(ready=True, __spec__=__spec__)\n"
    )
    (tmp_path / "broken_to_import.py").write_text("import time\ntime.sleep(0.1)\nraise ValueError('it is broken')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "slow_to_import"


def test_what_puts_another_module_in_its_place_is_whole_for_whoever_has_waited(slow_module: str) -> None:
    begin_imports(slow_module)()
    from slow_to_import import ready  # type: ignore[import-not-found]

    assert ready


def test_what_cannot_be_imported_is_an_error_for_whoever_needs_it(slow_module: str) -> None:
    begin_imports("broken_to_import")()
    with pytest.raises(ValueError, match="it is broken"):
        importlib.import_module("broken_to_import")


def test_garbage_is_looked_for_again_after_an_import_that_failed() -> None:
    with pytest.raises(ImportError), uncollected():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled()


def test_what_is_imported_while_ray_starts_leaves_ray_itself_alone_and_nothing_large_for_later() -> None:
    """Two threads that import parts of one library may meet in the middle of it."""
    program = """
import importlib, sys
import search.driver
for module in search.driver.IMPORTED_MEANWHILE: importlib.import_module(module)
assert "ray" not in sys.modules
before = set(sys.modules)
import search.finish, search.micro_batch, search.tuner
print(*sorted({module.partition(".")[0] for module in set(sys.modules) - before}))
"""
    later = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "ray" in later
    assert not {"torch", "transformers", "sklearn", "plotly", "cv2", "PIL"} & set(later)
