"""A trial of a run by its number: what the run says of it, and its folder with the weights of its best epoch."""

import contextlib
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter

from results.journal.journal import TrialRecord, read_journal, trial_records
from results.journal.objects import read_objects
from trainable.history import EpochRow
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote, is_uri, without_secrets
from trainable.text.validation import faults_of
from trainable.text.yaml_file import YamlError, read_yaml


class _Asked(BaseModel):
    """What of `search.yaml` a trial's model depends on."""

    model_config = ConfigDict(strict=True)

    model: str
    data: str | None = None
    group_by: str | None = None
    subset: float | None = None
    image_size: int | None = None
    min_precision: float | None = None
    min_recall: float | None = None
    identity: dict[str, Any] | None = None


_RULES = TypeAdapter(_Asked)


class NotKeptError(ValueError):
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
        NotKeptError: there is no such run or trial, or its weights are not kept.
        JournalError: the run's journal is missing or damaged.
        StorageError: the remote storage cannot be used or reached.
    """
    shown = without_secrets(run)
    with _here(run) as (folder, mirror):
        asked = _asked(folder, shown)
        events = read_objects(mirror.remote.at("journal")) if mirror else read_journal(folder / "journal.jsonl")
        record = _record(trial_records(events), number, shown)
        trials = folder / "trials"
        _check_weights(record, mirror.remote.files("trials") if mirror else _files(trials), shown)
        trial = trials / f"{number:04d}"
        if mirror:
            mirror.pull(trial)
        yield KeptTrial(folder.name, trial, record, asked)


@contextlib.contextmanager
def _here(run: str) -> Iterator[tuple[Path, Mirror | None]]:
    """The run folder; that of a remote storage is a new one of this machine with `search.yaml` alone, and a mirror."""
    if not is_uri(run):
        if not Path(run).is_dir():
            raise NotKeptError(f"{run}: there is no such folder; give the run folder that a search has written")
        yield Path(run).resolve(), None
        return
    with tempfile.TemporaryDirectory() as scratch:
        remote = Remote(run)
        mirror = Mirror(remote, Path(scratch, remote.name))
        mirror.pull(mirror.local / "search.yaml")
        yield mirror.local, mirror


def _asked(folder: Path, run: str) -> dict[str, Any]:
    try:
        asked = read_yaml(folder / "search.yaml")
    except YamlError as error:
        raise NotKeptError(f"{run}: its search.yaml cannot be read, so this is no run folder: {error}") from None
    if faults := faults_of(_RULES, asked):
        raise NotKeptError(f"{run}: its search.yaml holds no options of a search: {'; '.join(faults)}")
    return cast(dict[str, Any], asked)


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
