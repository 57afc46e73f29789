"""What decides a trial's result: the data, the model, the space and the code, by which a run is known again."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import spaces
import trainable
from trainable.detector.hub import name_and_revision

RESULTS_VERSION = 1
"""Goes up, by hand, whenever the same search would draw other recipes or report other figures than before, beyond what
rounding does: a run of another results version is not gone on with. `tests/search/test_results_version.py` notices."""


def provenance(fingerprint: str, checkpoints: Sequence[str], space: str) -> dict[str, str]:
    """Short hashes of what decides a trial's result, its results version, and the code's hash, for the record.

    Args:
        fingerprint: the data set's.
        checkpoints: folders, or names on the hub with their commits, which stand for themselves.
        space: `path/to/file.py:function` or a name of `spaces/`.
    """
    space_file = [Path(space.rpartition(":")[0])] if ":" in space else []
    return {
        "data": fingerprint[:16],
        "model": " ".join(map(_of_checkpoint, checkpoints)),
        "space": space.rpartition(":")[2] + (f" {_hash(space_file)}" if space_file else ""),
        "results": _results_version(RESULTS_VERSION),
        "code": code_version(),
    }


def _of_checkpoint(checkpoint: str) -> str:
    weights = sorted(path for path in Path(checkpoint).glob("*") if path.suffix in (".json", ".safetensors"))
    return _hash(weights) if weights else checkpoint


def _results_version(number: int) -> str:
    return f"version {number}"


def code_version() -> str:
    """Short hash of the project's own code, as far as it decides a trial's result; nodes are compared by it."""
    # From where they were imported: on a cluster each package travels by itself, to a folder of any name.
    packages = (Path(package.__path__[0]) for package in (spaces, trainable))
    return _hash([path for package in packages for path in sorted(package.rglob("*.py"))])


def changes(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    """A line for each thing that is another than before.

    The code may be another one: as long as the results version is the same, it gives the same.

    Args:
        before: what `provenance` gave when the run was begun.
        now: what it gives now.
    """
    if "code" in before:  # Runs from before there was a results version.
        before = {"results": _results_version(1), **before}
    # Runs of a time when names on the hub were not pinned go on with the commit that the name stands for now.
    now_model = now.get("model", "")
    if before.get("model") == name_and_revision(now_model)[0]:
        before = {**before, "model": now_model}
    return [
        f"  {name}: was {before.get(name)}, is {value}"
        for name, value in now.items()
        if name != "code" and before.get(name) != value
    ]


def _hash(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
