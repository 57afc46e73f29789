"""With two checkouts and one environment, the one whose script is started runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search", "spaces", "results", "trainable")
SCRIPTS = [
    *("search/run.py", "trainable/train.py", "results/evaluate.py", "results/export.py", "results/export_model.py"),
    *("results/predict.py", "results/report.py", "trainable/data/convert.py"),
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages, each of which says so when it is imported."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__", "checkpoint")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
        init = folder / package / "__init__.py"
        init.write_text(init.read_text() + f"\nprint('the other {package}')\n")
    return folder


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_packages_beside_the_script_are_imported(checkout, script, tmp_path):
    # The environment's own checkout comes first on the path, as an editable install's may.
    done = subprocess.run(
        [sys.executable, checkout / script, "--help"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = {line for line in done.stdout.splitlines() if line.startswith("the other ")}
    assert f"the other {script.partition('/')[0]}" in said and "the other trainable" in said


def test_processes_that_a_search_starts_import_them_too(checkout, tmp_path):
    # A space is loaded first of all, and its file is run.
    (tmp_path / "space.py").write_text("import os; print(os.environ['PYTHONPATH'])")
    done = subprocess.run(
        [sys.executable, checkout / "search" / "run.py", "--space", "space.py:mine"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert os.pathsep.join([str(checkout), str(ROOT)]) in done.stdout.splitlines()
