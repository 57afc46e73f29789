"""`environment.json`: what a run was made with, so that it can be repeated."""

import json
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from trainable.storage.durable_file import write_atomically
from trainable.storage.remote import without_secrets
from trainable.text.command_line import quoted

PACKAGES = (
    *("moved-object-search", "ray", "torch", "transformers", "accelerate", "optuna", "pillow", "numpy", "scipy"),
    *("faster-coco-eval", "pandas", "tensorboard"),
)


def write_environment(path: Path, fingerprint: str, seed: int, resources: dict[str, Any], code: str) -> None:
    """Writes versions, git commit and hash of the code, data fingerprint, seed, resources and command line."""
    content = {
        "command": quoted([Path(sys.executable).name, *map(without_secrets, sys.argv)]),
        "seed": seed,
        "data_fingerprint": fingerprint,
        "git_commit": _git_commit(),
        "code": code,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "resources": resources,
    }
    write_atomically(path, json.dumps(content, indent=2))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The checkout's commit, with `-dirty` where files have changed; None outside a checkout."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()
