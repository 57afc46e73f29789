"""What a trial keeps on disk, so that it can be killed at any moment and resumed exactly.

`progress.json` is the only commit point: it holds the history and names what belongs to it, and it is replaced in one
step after everything that it names is on disk, always by the thread that trains. Whatever else lies in the folder is
left over, and cleared away when a trial starts.

The history may be ahead of the checkpoint, which is written only so often. A resumed trial then trains those epochs
once more without a word, and what it has reported stands.

Where the run lies in a remote storage, the same holds of the trial's folder there: it is what counts, and a trial that
starts again, on whatever machine, begins by fetching it.
"""

import logging
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from trainable.history import EpochRow, best_row, current_stage
from trainable.recipe import Recipe, RecipeError
from trainable.storage.durable_file import checksum, is_sound, wait_for_disk, write_atomically
from trainable.storage.mirror import Mirror
from trainable.training.exhaustion import with_half_batch, with_half_micro_batch
from trainable.training.progress import PROGRESS, Checkpoint, Progress, ProgressError, read_progress
from trainable.training.validation_terms import write_terms
from trainable.training.weights import save_weights, trained_parts

_log = logging.getLogger(__name__)


class TrialFolder:
    """One trial's recipe, history, last checkpoint and best weights.

    What is damaged is logged, and the trial goes on from what is sound: from what a checkpoint or a weights file was
    trained from, or, where `progress.json` is, from its start. What was reported stands all the same.

    Args:
        path: the folder; made if it does not exist. No other process may use it.
        recipe: the effective recipe; written to `recipe.yaml`. Of a folder with progress, its own micro-batch stays.
        mirror: of the run, where that lies in a remote storage.
        reported: the rows that the search knows of, for where the folder has lost them.

    Raises:
        RecipeError: the folder holds the progress of another recipe.
        StorageError: here and from all that writes, the remote storage cannot be used or reached.
    """

    def __init__(self, path: Path, recipe: Recipe, mirror: Mirror | None = None, reported: Sequence[EpochRow] = ()):
        self.path = path
        self.recipe = recipe
        self.history: list[EpochRow] = []
        self._weights: dict[str, int] = {}
        self._checkpoint: Checkpoint | None = None
        self._pending: Future[Checkpoint] | None = None
        self._disk = ThreadPoolExecutor(max_workers=1)
        self._mirror = mirror
        if mirror and not mirror.pull(path):
            shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
        self._read_progress()
        if len(reported) > len(self.history):
            self.history = list(reported)
        self._drop_leftovers()
        self._write_recipe()

    def next_stage(self) -> int | None:
        """Index of the stage to train now, None when the trial is at its end.

        That is an earlier one where the weights that a stage starts from turn out to be damaged; at the end, the best.
        """
        stage = current_stage(self.history, self.recipe)
        if stage is None and not self._has_weights(best := best_row(self.history)):
            stage = best.stage
        while stage and not self._has_weights(best_row(self.history, stage - 1)):
            stage -= 1
            if self.checkpoint_of(stage):
                self._checkpoint = None  # It may be of a later epoch than the weights.
        return stage

    @property
    def seconds(self) -> float:
        """What the trial has trained so far."""
        return self.history[-1].seconds if self.history else 0.0

    def row_of_epoch(self, epoch: int) -> EpochRow | None:
        """The row of an epoch that the trial has had before it was broken off, if it has."""
        return next((row for row in reversed(self.history) if row.epoch == epoch), None)

    @property
    def is_writing(self) -> bool:
        """Whether a checkpoint is on its way to the disk: another one must not be asked for."""
        return self._pending is not None

    def checkpoint_of(self, stage: int) -> Path | None:
        """The Trainer checkpoint to go on from within `stage`, None at a stage's start."""
        if self._checkpoint is None or self._checkpoint.stage != stage:
            return None
        return self.path / self._checkpoint.path

    def start_weights(self, stage: int) -> Path | None:
        """What `stage` starts from: the best weights of the one before, None for the trial's own start."""
        return self.weights_of(best_row(self.history, stage - 1)) if stage else None

    @property
    def best_weights(self) -> Path:
        """The weights of the best epoch of all."""
        return self.weights_of(best_row(self.history))

    def weights_of(self, row: EpochRow) -> Path:
        """Where the weights of an epoch are kept, if they are; see `trainable.training.weights`."""
        return weights_path(self.path, row.epoch)

    def commit(self, row: EpochRow, model: PreTrainedModel, terms: NDArray[np.float64] | None = None) -> None:
        """Makes an epoch durable: its row, and its weights where they are the best so far.

        An epoch that is known keeps the row that it has.

        Args:
            row: of the epoch just evaluated.
            model: as evaluated; holds the parts that the recipe has trained by then.
            terms: what each validation pair adds to its loss.
        """
        if not self.row_of_epoch(row.epoch):
            self.history.append(row)
        if self.weights_of(row) in self._kept(row.stage) and not self._has_weights(row):
            parts = trained_parts(self.recipe, row.stage)
            self._weights[self.weights_of(row).name] = save_weights(model, parts, self.weights_of(row))
            self._push(self.weights_of(row))
        if terms is not None and best_row(self.history) is row:
            self._push(write_terms(self.path, row.epoch, terms))
        self._write_progress(self._weights_to_drop(row.stage))

    def halve_micro_batch(self) -> bool:
        """Goes on with half as many images at a time; False where there is one at a time already.

        The recipe of the folder says so then, and the last checkpoint counts.
        """
        smaller = with_half_micro_batch(self.recipe)
        if smaller is None:
            return False
        self.recipe = smaller
        self._write_recipe()
        self.wait_for_checkpoint()
        self._write_progress()
        return True

    def checkpoint_written(self, path: Path, stage: int) -> None:
        """Takes note of a new Trainer checkpoint of a committed epoch; not while another one `is_writing`.

        It counts once it is on the disk, and in the storage; that is waited for beside the training.
        """
        assert self._pending is None, "more than two checkpoints would lie on the disk"
        self._pending = self._disk.submit(self._durable, path, stage)

    def take_in_checkpoint(self) -> None:
        """Has the last checkpoint count if it is durable by now, and drops the ones before.

        Raises:
            OSError: the disk or the storage has not taken it.
        """
        if self._pending and self._pending.done():
            self._write_progress()

    def wait_for_checkpoint(self) -> None:
        """Has the last checkpoint count once it is durable.

        Raises:
            OSError: the disk or the storage has not taken it.
        """
        if self._pending:
            self._pending.exception()
            self.take_in_checkpoint()

    def close(self) -> None:
        """Waits for what is still being written.

        A checkpoint that cannot be written is logged: the trial's result does not need it.
        """
        self._disk.shutdown()
        try:
            self.take_in_checkpoint()
        except FileNotFoundError:
            return  # Whoever stopped the trial has dropped it already.
        except OSError as error:
            _log.warning("%s: the last checkpoint is lost: %s", self.path, error)

    def _read_progress(self) -> None:
        try:
            if (progress := read_progress(self.path)) is None:
                return
            kept = self._kept_recipe(progress)
        except ProgressError as error:
            _log.warning("%s; the trial is trained again, and what it has reported stands", error)
            return
        asked = replace(self.recipe, micro_batch=kept.micro_batch)
        if kept not in (asked, with_half_batch(asked)):
            raise RecipeError(["the folder holds another recipe's progress; choose another folder"], str(self.path))
        self.recipe = kept
        self.history, self._weights, checkpoint = progress.history, progress.weights, progress.checkpoint
        if checkpoint and not checkpoint.is_sound(self.path):
            if (self.path / checkpoint.path).exists():  # Else it was dropped when the trial ended.
                _log.warning("%s is damaged; its stage is trained again", self.path / checkpoint.path)
            checkpoint = None
        self._checkpoint = checkpoint

    def _kept_recipe(self, progress: Progress) -> Recipe:
        """Whose progress it is; that of earlier versions is that of `recipe.yaml`.

        Raises:
            ProgressError: `recipe.yaml` is damaged, and nothing else says so.
        """
        path = self.path / "recipe.yaml"
        try:
            on_disk = Recipe.from_yaml(path)
            if progress.recipe in (None, on_disk):
                return on_disk
            damage = "it holds another recipe"
        except RecipeError as error:
            damage = error.faults[0]
        if progress.recipe is None:
            raise ProgressError(f"{path} is damaged: {damage}")
        _log.warning("%s is damaged and written anew: %s", path, damage)
        return progress.recipe

    def _drop_leftovers(self) -> None:
        """Deletes the files that a killed process had not committed."""
        kept = {self.path / "weights" / name for name in self._weights}
        if self._checkpoint:
            kept.add(self.path / self._checkpoint.path)
        for path in (*self.path.glob("stage-*/checkpoint-*"), *self.path.glob("weights/*")):
            if path not in kept:
                _drop(path, self._mirror)

    def _write_progress(self, outdated: Iterable[Path] = ()) -> None:
        """Commits what is known by now, then deletes what is `outdated` thereby."""
        dropped = set(outdated)
        if self._pending and self._pending.done():
            pending, self._pending = self._pending, None
            self._checkpoint = pending.result()
            dropped |= set(self.path.glob("stage-*/checkpoint-*")) - {self.path / self._checkpoint.path}
        progress = Progress(self.history, self._checkpoint, self._weights, self.recipe)
        self._push(progress.write(self.path))
        for path in dropped:
            _drop(path, self._mirror)

    def _weights_to_drop(self, stage: int) -> list[Path]:
        """Forgets the weights that are not needed any more once `stage` is being trained; returns their files."""
        kept = {path.name for path in self._kept(stage)}
        outdated = [self.path / "weights" / name for name in self._weights if name not in kept]
        self._weights = {name: value for name, value in self._weights.items() if name in kept}
        return outdated

    def _write_recipe(self) -> None:
        write_atomically(self.path / "recipe.yaml", self.recipe.to_yaml())
        self._push(self.path / "recipe.yaml")

    def _push(self, path: Path) -> None:
        if self._mirror:
            self._mirror.push(path)

    def _durable(self, path: Path, stage: int) -> Checkpoint:
        """The checkpoint, once all of it is on the disk and in the storage."""
        files = sorted(path.iterdir())
        for entry in (*files, path):
            wait_for_disk(entry)
        self._push(path)
        return Checkpoint(str(path.relative_to(self.path)), stage, {file.name: checksum(file) for file in files})

    def _kept(self, stage: int) -> set[Path]:
        """The best weights of all epochs, of the stage that was just trained, and what that one started from.

        The same of the history's last stage, where an earlier one is trained again.
        """
        ends = {stage, self.history[-1].stage}
        stages = {index for end in ends for index in (end - 1, end) if index >= 0}
        rows = [best_row(self.history), *(best_row(self.history, index) for index in stages)]
        return {self.weights_of(row) for row in rows}

    def _has_weights(self, row: EpochRow) -> bool:
        path = self.weights_of(row)
        if path.name not in self._weights:
            return False
        if is_sound(path, self._weights[path.name]):
            return True
        _log.warning("%s is damaged or gone; its stage is trained again", path)
        del self._weights[path.name]
        return False


def weights_path(path: Path, epoch: int) -> Path:
    """Where the trial in `path` keeps the weights of `epoch`, if it does."""
    return path / "weights" / f"epoch-{epoch:04d}.safetensors"


def drop_checkpoints(path: Path, mirror: Mirror | None = None) -> None:
    """Frees what only a resume of the trial in `path` needs; its recipe, history and best weights stay.

    Raises:
        StorageError: where the run has a `mirror`, the remote storage cannot be used or reached.
    """
    names = {folder.name for folder in path.glob("stage-*")}
    if mirror:
        names |= {name for name in mirror.names(path) if name.startswith("stage-")}
    for name in names:
        _drop(path / name, mirror)


def drop_progress(path: Path, mirror: Mirror | None = None) -> None:
    """Frees all that the trial in `path` could go on from; it would train again from its start. Its recipe stays.

    Raises:
        StorageError: where the run has a `mirror`, the remote storage cannot be used or reached.
    """
    # First what names the rest.
    _drop(path / PROGRESS, mirror)
    drop_checkpoints(path, mirror)
    drop_weights(path, mirror)


def drop_weights(path: Path, mirror: Mirror | None = None, but: int | None = None) -> None:
    """Frees the weights of the trial in `path`; its recipe and history stay, and training it again gives them back.

    Args:
        path: the trial's folder.
        mirror: of the run, where that lies in a remote storage.
        but: the epoch whose weights stay.

    Raises:
        StorageError: where the run has a `mirror`, the remote storage cannot be used or reached.
    """
    if but is None:
        _drop(path / "weights", mirror)
        return
    kept, weights = weights_path(path, but), path / "weights"
    names = {file.name for file in weights.glob("*")} | set(mirror.names(weights) if mirror else ())
    for name in names - {kept.name}:
        _drop(weights / name, mirror)


def _drop(path: Path, mirror: Mirror | None) -> None:
    """Deletes a file or folder, also in the storage."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    if mirror:
        mirror.drop(path)
