"""A run that some search has written, here or in a remote storage, to be read: what it was asked, and its trials."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, ConfigDict, TypeAdapter

from results.journal.journal import TrialRecord, read_journal, trial_records
from results.journal.objects import read_objects
from trainable.detector.hub import MODELS_WORDS, are_models
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote, is_uri, without_secrets
from trainable.text.validation import faults_of, rule
from trainable.text.yaml_file import YamlError, read_yaml


class _Asked(BaseModel):
    """What of `search.yaml` is used of a run that is read."""

    model_config = ConfigDict(strict=True)

    model: Annotated[str | list[str], rule(are_models, MODELS_WORDS, before=True)]
    space: str = "staged"
    max_epochs: int | None = None
    seed: int = 0
    data: str | None = None
    group_by: str | None = None
    subset: float | None = None
    image_size: int | None = None
    min_precision: float | None = None
    min_recall: float | None = None
    identity: dict[str, Any] | None = None


_RULES = TypeAdapter(_Asked)


class NoRunError(ValueError):
    """What was given as a run is none, or has not what is wanted of it; the message says what it has."""


@dataclass(frozen=True)
class OpenedRun:
    """A run as it lies there: finished, still running, or broken off."""

    folder: Path
    """The run folder; that of a remote storage is a new one of this machine with `search.yaml` alone."""
    mirror: Mirror | None
    """What fetches more of it, where the storage is remote."""
    asked: dict[str, Any]
    """What the search was asked: `search.yaml`."""
    records: list[TrialRecord]


@contextlib.contextmanager
def open_run(run: str) -> Iterator[OpenedRun]:
    """The run, for as long as this lasts.

    Args:
        run: the run folder or its URI.

    Raises:
        NoRunError: there is no such run.
        JournalError: the run's journal is missing or damaged.
        StorageError: the remote storage cannot be used or reached.
    """
    with _here(run) as (folder, mirror):
        asked = _asked(folder, without_secrets(run))
        events = read_objects(mirror.remote.at("journal")) if mirror else read_journal(folder / "journal.jsonl")
        yield OpenedRun(folder, mirror, asked, trial_records(events))


@contextlib.contextmanager
def _here(run: str) -> Iterator[tuple[Path, Mirror | None]]:
    if not is_uri(run):
        if not Path(run).is_dir():
            raise NoRunError(f"{run}: there is no such folder; give the run folder that a search has written")
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
        raise NoRunError(f"{run}: its search.yaml cannot be read, so this is no run folder: {error}") from None
    if faults := faults_of(_RULES, asked):
        raise NoRunError(f"{run}: its search.yaml holds no options of a search: {'; '.join(faults)}")
    return cast(dict[str, Any], asked)
