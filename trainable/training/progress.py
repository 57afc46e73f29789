"""`progress.json`: how far a trial has come, checked when it is read.

A file of earlier versions, which has no checksum and does not say whose progress it is, is read as it is.
"""

import contextlib
import json
import logging
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from trainable.history import Row
from trainable.recipe import LARGEST, Recipe, RecipeError
from trainable.storage.durable_file import is_sound, write_atomically

PROGRESS = "progress.json"
_log = logging.getLogger(__name__)


class ProgressError(ValueError):
    """A trial's progress is damaged; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """A Trainer checkpoint that is whole and on the disk."""

    path: str
    """Relative to the trial's folder."""
    stage: int
    checksums: dict[str, int]
    """CRC-32 of each of its files, by name."""

    def is_sound(self, folder: Path) -> bool:
        """Whether its files in the trial's `folder` are those that were written."""
        return all(is_sound(folder / self.path / name, value) for name, value in self.checksums.items())


@dataclass(frozen=True)
class Progress:
    """A trial's history and the files that belong to it."""

    recipe: Recipe | None = None
    """Whose progress it is, an effective recipe; None in files of earlier versions."""
    history: list[Row] = field(default_factory=list)
    checkpoint: Checkpoint | None = None
    weights: dict[str, int] = field(default_factory=dict)
    """CRC-32 of each file in `weights/`, by name."""

    def write(self, folder: Path) -> Path:
        """Replaces the file in the trial's `folder` in one step, and returns its path.

        Raises:
            OSError: it cannot be written; the old one stays.
        """
        content = {
            "recipe": self.recipe and self.recipe.to_dict(),
            "history": self.history,
            "checkpoint": self.checkpoint and asdict(self.checkpoint),
            "weights": self.weights,
        }
        path = folder / PROGRESS
        write_atomically(path, json.dumps(content | {"checksum": _checksum(content)}))
        return path


def read_progress(folder: Path) -> Progress | None:
    """The progress of the trial in `folder`; None where it has none yet.

    Raises:
        ProgressError: it is damaged.
        OSError: it cannot be read for another reason than that it is not there.
    """
    path = folder / PROGRESS
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProgressError(f"{path} is damaged: it is no JSON: {error}") from None
    if fault := _fault(content):
        raise ProgressError(f"{path} is damaged: {fault}")
    checkpoint, recipe = content["checkpoint"], content.get("recipe")
    try:
        return Progress(
            recipe and Recipe.from_dict(recipe),
            content["history"],
            checkpoint and Checkpoint(**checkpoint),
            content["weights"],
        )
    except RecipeError as error:
        raise ProgressError(f"{path} is damaged: recipe.{error.faults[0]}") from None


def kept_recipe(folder: Path, asked: Mapping[str, Any]) -> Recipe:
    """The recipe that the trial in `folder` was trained by.

    Where `recipe.yaml` is damaged, which is logged, it is that of the progress; where that is damaged too, `asked`.

    Args:
        folder: the trial's.
        asked: what the search asked for, as a dict; empty where there is none.

    Raises:
        RecipeError: none of them can be used.
    """
    try:
        return Recipe.from_yaml(folder / "recipe.yaml")
    except RecipeError as error:
        with contextlib.suppress(ProgressError, OSError):
            progress = read_progress(folder)
            if progress and progress.recipe:
                _log.warning("%s; that of %s is taken", error, PROGRESS)
                return progress.recipe
        if not asked:
            raise
        _log.warning("%s; that of the journal is taken", error)
        return Recipe.from_dict(asked)


def _checksum(content: dict[str, Any]) -> int:
    """CRC-32 of all but the checksum itself; JSON gives every number back as it was."""
    return zlib.crc32(json.dumps(content).encode())


def _fault(content: Any) -> str | None:
    """What is wrong with the content of a file; None where nothing is."""
    if not isinstance(content, dict):
        return f"an object is needed, it is {_kind(content)}"
    if "checksum" in content:
        checksum = content.pop("checksum")
        if checksum != _checksum(content):
            return "its checksum is another"
    for name, kind in (("history", list), ("weights", dict)):
        if not isinstance(content.get(name), kind):
            return f"{name}: {_kind(kind())} is needed, it is {_kind(content.get(name))}"
    if not isinstance(content.get("recipe"), dict | None):
        return f"recipe: an object is needed, it is {_kind(content['recipe'])}"
    if not _are_checksums(content["weights"]):
        return "weights: a file's name and its checksum are needed"
    return _checkpoint_fault(content.get("checkpoint", "")) or _history_fault(content["history"])


def _checkpoint_fault(checkpoint: Any) -> str | None:
    if checkpoint is None:
        return None
    if not isinstance(checkpoint, dict) or set(checkpoint) != {"path", "stage", "checksums"}:
        return "checkpoint: null, or an object of path, stage and checksums is needed"
    path = checkpoint["path"]
    # What the trial no longer needs is deleted: nothing outside its folder may be meant.
    if not isinstance(path, str) or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        return "checkpoint.path: a path in the trial's folder is needed"
    if not _is_whole(checkpoint["stage"], least=0) or not _are_checksums(checkpoint["checksums"]):
        return "checkpoint: its stage is a number, its checksums are of file names"
    return None


def _history_fault(history: list[Any]) -> str | None:
    stage = 0
    for epoch, row in enumerate(history, start=1):
        if not isinstance(row, dict):
            return f"history: row {epoch} is {_kind(row)}"
        if row.get("epoch") != epoch or not _is_whole(row.get("stage"), least=stage):
            return f"history: row {epoch} is not that of epoch {epoch} in stage {stage} or a later one"
        if missing := [name for name in _NUMBERS if not _is_number(row.get(name))]:
            return f"history: row {epoch} has no number as {missing[0]}"
        if not isinstance(row.get("final"), bool) or not isinstance(row.get("within_epoch"), list):
            return f"history: row {epoch} does not say whether it is final, or what was evaluated within it"
        stage = row["stage"]
    return None


_NUMBERS = ("val_loss", "precision", "recall", "f1", "seconds")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < float("inf")


def _is_whole(value: Any, least: int) -> bool:
    return type(value) is int and least <= value < LARGEST


def _are_checksums(value: Any) -> bool:
    return isinstance(value, dict) and all(
        PurePosixPath(name).name == name and type(checksum) is int for name, checksum in value.items()
    )


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", type(None): "null or missing"}
    return kinds.get(type(value), "a number or a truth value")
