"""The wheel holds all that a search needs, in an environment and a directory that know nothing of the checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGES = ("search", "spaces", "results", "trainable")
PATIENCE = 300


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy of it: building leaves files behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", out)
    subprocess.run([sys.executable, "-m", "pip", "wheel", *how, source], check=True)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command of a fresh environment with that wheel, and with the libraries of this one."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    how = ("--quiet", "--no-deps", "--no-index", "--no-compile")
    subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", *how, wheel], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    # After the installation, which would take this environment's own, editable one for what is to be replaced.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return environment / "bin" / "moved-object-search"


def test_the_wheel_has_every_file_of_the_packages_and_nothing_else(wheel):
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == files


def test_an_installed_search_runs_from_any_directory(installed, tmp_path, data_folder, checkpoint):
    # What a user may have in the directory, and what must not be taken for the project's own packages.
    for package in PACKAGES:
        (tmp_path / f"{package}.py").write_text("raise SystemExit('a file of the user was imported')")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PATH": f"{installed.parent}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    flags = ("--space", "learning_rate", "--data", data_folder, "--model", checkpoint, "--trials", 1)
    done = subprocess.run(
        ["moved-object-search", "search", *map(str, flags), "--max-epochs", "3", "--storage", "runs", "--name", "run"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = tmp_path / "runs" / "run"
    header = (run / "search.yaml").read_text()
    assert f"moved-object-search resume {run}" in header
    assert yaml.safe_load(header)["command"].startswith("moved-object-search search --space learning_rate ")
    assert "\n#   moved-object-search train --recipe " in (run / "best" / "recipe.yaml").read_text()
    assert "moved-object-search predict --model" in (run / "best" / "model" / "README.md").read_text()
    assert f"moved-object-search resume {run}" in (run / "report.html").read_text()
