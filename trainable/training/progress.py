"""`progress.json`: how far a trial has come, checked when it is read.

A file of earlier versions, which has no checksum and does not say whose progress it is, is read as it is.
"""

import contextlib
import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import Strict, TypeAdapter, ValidationError

from trainable.history import EpochRow, Whole
from trainable.recipe import KeptRecipe, Recipe, RecipeError
from trainable.storage.durable_file import is_sound, write_atomically
from trainable.text.validation import faults_of, rule

PROGRESS = "progress.json"
_log = logging.getLogger(__name__)


def _are_in_order(history: Sequence[EpochRow]) -> bool:
    stages = [row.stage for row in history]
    return stages == sorted(stages) and [row.epoch for row in history] == list(range(1, len(history) + 1))


def _lies_inside(path: str) -> bool:
    """Whether a path leads nowhere but into the trial's folder: what the trial no longer needs is deleted."""
    return not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts


Text = Annotated[str, Strict()]
Checksums = dict[
    Annotated[Text, rule(lambda name: PurePosixPath(name).name == name, "the name of a file")], Annotated[int, Strict()]
]
"""CRC-32 of files, by their names."""


class ProgressError(ValueError):
    """A trial's progress is damaged; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Checkpoint:
    """A Trainer checkpoint that is whole and on the disk."""

    path: Annotated[Text, rule(_lies_inside, "a path in the trial's folder")]
    """Relative to the trial's folder."""
    stage: Whole
    checksums: Checksums
    """Of each of its files."""

    def is_sound(self, folder: Path) -> bool:
        """Whether its files in the trial's `folder` are those that were written."""
        return all(is_sound(folder / self.path / name, value) for name, value in self.checksums.items())


@dataclass(frozen=True)
class Progress:
    """A trial's history and the files that belong to it."""

    history: Annotated[list[EpochRow], rule(_are_in_order, "rows of epochs 1, 2, ..., whose stages go up")]
    checkpoint: Checkpoint | None
    weights: Checksums
    """Of each file in `weights/`."""
    recipe: KeptRecipe | None = None
    """Whose progress it is, an effective recipe; None in files of earlier versions."""

    def write(self, folder: Path) -> Path:
        """Replaces the file in the trial's `folder` in one step, and returns its path.

        Raises:
            OSError: it cannot be written; the old one stays.
        """
        content = {
            "recipe": self.recipe and self.recipe.to_dict(),
            "history": [row.to_dict() for row in self.history],
            "checkpoint": self.checkpoint and asdict(self.checkpoint),
            "weights": self.weights,
        }
        path = folder / PROGRESS
        write_atomically(path, json.dumps(content | {"checksum": _checksum(content)}))
        return path


_FORMAT = TypeAdapter(Progress)


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
    if isinstance(content, dict) and "checksum" in content and content.pop("checksum") != _checksum(content):
        raise ProgressError(f"{path} is damaged: its checksum is another")
    try:
        return _FORMAT.validate_python(content)
    except ValidationError:
        raise ProgressError(f"{path} is damaged: {faults_of(_FORMAT, content)[0]}") from None


def kept_recipe(folder: Path, asked: Recipe | None) -> Recipe:
    """The recipe that the trial in `folder` was trained by.

    Where `recipe.yaml` is damaged, which is logged, it is that of the progress; where that is damaged too, `asked`.

    Args:
        folder: the trial's.
        asked: what the search asked for, if it is known.

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
        return asked


def _checksum(content: dict[str, Any]) -> int:
    """CRC-32 of all but the checksum itself; JSON gives every number back as it was."""
    return zlib.crc32(json.dumps(content).encode())
