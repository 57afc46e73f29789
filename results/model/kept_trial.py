"""A trial of a run by its number: what the run says of it, and its folder with the weights of its best epoch."""

import contextlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results.journal.journal import TrialRecord
from results.journal.opened_run import NoRunError, open_run
from trainable.history import EpochRow
from trainable.storage.remote import without_secrets


class NotKeptError(NoRunError):
    """A run has no such trial, or not its weights; the message says what it has."""


@dataclass(frozen=True)
class KeptTrial:
    """A trial whose best weights are kept."""

    run: str
    """Name of its run."""
    folder: Path
    """The trial's own."""
    record: TrialRecord
    """With an epoch at least."""
    asked: Mapping[str, Any]
    """What the search was asked: `search.yaml`."""

    @property
    def model(self) -> str:
        """What it started from, as `--model` takes it."""
        return str((self.record.recipe and self.record.recipe.model) or self.asked["model"])

    @property
    def best(self) -> EpochRow:
        """The metrics of its best epoch."""
        assert self.record.best is not None, "checked by kept_trial"
        return self.record.best


@contextlib.contextmanager
def kept_trial(run: str, number: int) -> Iterator[KeptTrial]:
    """The trial, for as long as this lasts: from a remote storage it is copied to this machine.

    Args:
        run: the run folder or its URI; the run may be finished, still running, or broken off.
        number: the trial's.

    Raises:
        NoRunError: there is no such run.
        NotKeptError: it has no such trial, or its weights are not kept.
        JournalError: the run's journal is missing or damaged.
        StorageError: the remote storage cannot be used or reached.
    """
    shown = without_secrets(run)
    with open_run(run) as found:
        record = _record(found.records, number, shown)
        trials, mirror = found.folder / "trials", found.mirror
        _check_weights(record, mirror.remote.files("trials") if mirror else _files(trials), shown)
        trial = trials / f"{number:04d}"
        if mirror:
            mirror.pull(trial)
        yield KeptTrial(found.folder.name, trial, record, found.asked)


def _record(records: list[TrialRecord], number: int, run: str) -> TrialRecord:
    found = next((record for record in records if record.number == number), None)
    if found is None:
        there = f"trials 0 to {records[-1].number}" if records else "none yet"
        raise NotKeptError(f"--trial {number}: {run} has no such trial, but {there}")
    if found.best is None:
        why = f": {found.error.splitlines()[0]}" if found.error else ""
        raise NotKeptError(f"--trial {number}: no epoch of it was evaluated, it is {found.status}{why}")
    return found


def _files(trials: Path) -> list[str]:
    return [path.relative_to(trials).as_posix() for path in trials.glob("*/weights/*")]


def _check_weights(record: TrialRecord, files: Collection[str], run: str) -> None:
    """Holds a trial's best weights to be among `files`, paths relative to `trials/`."""
    if _weights(record) in files:
        return
    kept = sorted({int(name.partition("/")[0]) for name in files if "/weights/" in name})
    raise NotKeptError(
        f"--trial {record.number}: its weights are not kept, only those of {', '.join(map(str, kept)) or 'no trial'}: "
        "a search drops those of all but its --keep best trials. To have them again, train its recipe: "
        f"{run}/trials/{record.number:04d}/recipe.yaml"
    )


def _weights(record: TrialRecord) -> str:
    # Transformers, which comes with it, takes seconds to import: only now that there is such a trial.
    from trainable.training.trial_folder import weights_path

    assert record.best is not None, "checked by _record"
    return weights_path(Path(f"{record.number:04d}"), record.best.epoch).as_posix()
