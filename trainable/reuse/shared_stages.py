"""Shared first stages: what trials that begin alike train once, kept in the run for all of its workers.

A finished stage goes by everything that it depends on, so that whoever finds one may take it for its own: a folder with
the stage's rows and its best weights. It appears under its name only when whole, it is checked whenever it is read, and
whatever is wrong with the disk or the storage costs a trial no more than training the stage itself.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from trainable.history import ROWS, EpochRow
from trainable.recipe import Recipe
from trainable.storage.durable_file import link_or_copy
from trainable.storage.mirror import Mirror

_STAGE = "stage.json"
_WEIGHTS = "weights.safetensors"
_UNFINISHED = ".unfinished"
_OLD_SECONDS = 3600
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedStage:
    """A stage that a trial has finished, for others to start from."""

    trial: str
    """Folder name of the trial that trained it."""
    rows: list[EpochRow]
    """Its evaluations, in their order, as that trial had them: `seconds` and `final` are of its own recipe."""
    weights: Path
    """Those of its best row, one safetensors file. Link or copy it before use: it goes when the store is full."""


@dataclass(frozen=True)
class SharedStages:
    """The finished stages of a run; any number of processes on any number of machines may use one folder at once."""

    folder: Path
    """Where they are kept; made when the first one is added."""
    context: str
    """What all recipes of the search have in common and a stage depends on: data, model, code, kind of device."""
    max_bytes: int
    """Most bytes of all weights together; beyond it, the least recently used stages are dropped."""
    mirror: Mirror | None = None
    """The mirror of the run, where that lies in a remote storage; `folder` is in it. A stage is fetched when it is
    looked for; the storage keeps `max_bytes` as each machine does, and drops what was added first."""

    def in_run(self, mirror: Mirror) -> "SharedStages":
        """The same stages as a machine keeps and finds them that has this mirror of the run."""
        return replace(self, folder=mirror.local / self.folder.name, mirror=mirror)

    def find(self, recipe: Recipe, stage: int) -> SharedStage | None:
        """The stage `stage` of `recipe` as another trial trained it.

        Args:
            recipe: the effective one (see `effective_recipe`).
            stage: its index.

        Returns:
            None where it is not kept or cannot be read, or is damaged, in which case it is removed.
        """
        entry = self.folder / stage_key(self.context, recipe, stage)
        try:
            if not entry.exists() and not self._fetched(entry):
                return None
            found = _read(entry)
            if found is None:
                if self._drop(entry):
                    _log.warning("%s is damaged and is removed; the stage is trained again", entry)
                return None
        except OSError as error:
            _log.warning("a shared stage cannot be read and is trained again: %s", error)
            return None
        with contextlib.suppress(OSError):
            os.utime(entry / _STAGE)
        return found

    def add(self, recipe: Recipe, stage: int, rows: Sequence[EpochRow], weights: Path, trial: str) -> None:
        """Keeps a finished stage, unless it is kept already, is larger than the store, or cannot be written.

        Args:
            recipe: the effective one.
            stage: its index.
            rows: the stage's own evaluations, in their order, at least one.
            weights: safetensors file of its best row, which nobody changes later: it is linked where it can be.
            trial: folder name of the trial that trained it.
        """
        entry = self.folder / stage_key(self.context, recipe, stage)
        try:
            if entry.exists() or weights.stat().st_size > self.max_bytes:
                return
            _write(entry, rows, weights, trial)
            if stored := self._stored(entry):
                # Whoever finds the first may read all of it.
                for name in (_WEIGHTS, _STAGE):
                    stored.push(entry / name)
            self._drop_oldest(entry)
        except OSError as error:
            _log.warning("a finished stage of trial %s is not shared: %s", trial, error)

    def _drop_oldest(self, added: Path) -> None:
        """Drops the least recently used stages beyond `max_bytes`, here and in the storage; `added` goes last."""
        for entry in _beyond(self.max_bytes, _kept_here(self.folder), added):
            _remove(entry)
        if stored := self._stored(self.folder):
            # Of all machines, also of those that have vanished; whoever has a stage still holds it.
            for entry in _beyond(self.max_bytes, _kept_there(self.folder, stored), added):
                self._drop(entry)

    def _drop(self, entry: Path) -> bool:
        """Deletes an entry, also in the storage; False where another process was faster."""
        if stored := self._stored(entry):
            stored.drop(entry)
        return _remove(entry)

    def _fetched(self, entry: Path) -> bool:
        """Brings an entry here from the storage; False where there is none."""
        stored = self._stored(entry)
        if not stored or stored.remote.written(_STAGE) is None:
            return False
        scratch = entry.with_name(uuid.uuid4().hex + _UNFINISHED)
        if Mirror(stored.remote, scratch).pull(scratch):
            _put(scratch, entry)
        return entry.exists()

    def _stored(self, folder: Path) -> Mirror | None:
        """Where the storage has an entry, or all of them; nobody waits for it when it cannot be reached."""
        stored = self.mirror and self.mirror.at(folder)
        return stored and replace(stored, remote=replace(stored.remote, retry_seconds=0))


def stage_key(context: str, recipe: Recipe, stage: int) -> str:
    """Name of what an effective recipe's first stages up to and with `stage` give; 64 hexadecimal digits.

    Recipes with equal names train alike to the last bit through that stage, and their rows say the same. Later stages,
    names of stages and the order in which parts are listed make no difference; nor does the backbone's learning rate as
    long as the backbone does not train.
    """
    depends_on = recipe.to_dict()
    depends_on["stages"] = [
        plain | {"name": "", "trainable": sorted(plain["trainable"])} for plain in depends_on["stages"][: stage + 1]
    ]
    if not any("backbone" in plain["trainable"] for plain in depends_on["stages"]):
        del depends_on["backbone_learning_rate_factor"]
    text = json.dumps([context, torch.__version__, transformers.__version__, depends_on], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _kept_here(folder: Path) -> dict[Path, tuple[float, int]]:
    """When each entry was last used and the bytes of its weights; drops what killed processes have left."""
    kept = {}
    for entry in folder.iterdir():
        # Another process may drop it meanwhile.
        with contextlib.suppress(FileNotFoundError):
            if entry.suffix == _UNFINISHED:
                _remove_if_old(entry)
            else:
                kept[entry] = (entry / _STAGE).stat().st_mtime, (entry / _WEIGHTS).stat().st_size
    return kept


def _kept_there(folder: Path, stored: Mirror) -> dict[Path, tuple[float, int]]:
    """When each entry of the storage was added and the bytes of its weights."""
    weights = [file for file in stored.remote.listing() if file.path.endswith("/" + _WEIGHTS)]
    return {folder / file.path.partition("/")[0]: (file.written, file.bytes) for file in weights}


def _beyond(max_bytes: int, kept: dict[Path, tuple[float, int]], last: Path) -> list[Path]:
    """The first entries by time that must go for the others to fit; `last` is the last one whatever its time."""
    taken, beyond = sum(size for _, size in kept.values()), []
    for entry in sorted(kept, key=lambda entry: (entry == last, kept[entry][0])):
        if taken <= max_bytes:
            break
        beyond.append(entry)
        taken -= kept[entry][1]
    return beyond


def _read(entry: Path) -> SharedStage | None:
    """What an entry holds, None where it is damaged.

    Raises:
        OSError: it cannot be read for another reason than that a file of it is missing.
    """
    try:
        kept = json.loads((entry / _STAGE).read_bytes())
        trial, rows = kept["trial"], kept["rows"]
        if kept["checksum"] != _checksum(entry / _WEIGHTS, trial, rows):
            return None
        return SharedStage(trial, ROWS.validate_python(rows), entry / _WEIGHTS)
    except (FileNotFoundError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _write(entry: Path, rows: Sequence[EpochRow], weights: Path, trial: str) -> None:
    scratch = entry.with_name(uuid.uuid4().hex + _UNFINISHED)
    scratch.mkdir(parents=True)
    try:
        link_or_copy(weights, scratch / _WEIGHTS)
        plain = [row.to_dict() for row in rows]
        checksum = _checksum(scratch / _WEIGHTS, trial, plain)
        (scratch / _STAGE).write_text(json.dumps({"trial": trial, "rows": plain, "checksum": checksum}))
        # Nobody waits for the disk: what a power cut spoils is noticed by its checksum, and trained again.
        _put(scratch, entry)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _put(scratch: Path, entry: Path) -> None:
    """Gives a whole entry its name, unless another process has been faster."""
    try:
        scratch.rename(entry)
    except OSError:
        # A folder does not replace one that has files in it.
        shutil.rmtree(scratch, ignore_errors=True)
        if not entry.exists():
            raise


def _checksum(weights: Path, trial: str, rows: list[dict[str, Any]]) -> str:
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps([trial, rows]).encode())
    return digest.hexdigest()


def _remove(entry: Path) -> bool:
    """Deletes an entry, in one step for those who look for it; False where another process was faster."""
    scratch = entry.with_name(uuid.uuid4().hex + _UNFINISHED)
    try:
        entry.rename(scratch)
    except FileNotFoundError:
        return False
    shutil.rmtree(scratch, ignore_errors=True)
    return True


def _remove_if_old(scratch: Path) -> None:
    """Deletes what a process began so long ago that it must have been killed."""
    if time.time() - scratch.stat().st_mtime > _OLD_SECONDS:
        shutil.rmtree(scratch, ignore_errors=True)
