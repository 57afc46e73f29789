"""`optuna.db`: a copy on disk of the study, which the search itself keeps in memory.

Nothing is read from it but which trials it has: it is for optuna-dashboard and for `optuna.load_study`.
"""

import contextlib
import copy
import sqlite3
from functools import partial
from pathlib import Path

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import OperationalError, SQLAlchemyError

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)

LOCK_SECONDS = 0.2
"""How long a sync waits for a reader to let go."""


class StudyDatabase:
    """An SQLite file in step with a study in memory.

    The study in it is named after the file's folder when it is first written. Optuna numbers the trials of the file
    in the order in which they ended, so each carries its number in the search as its user attribute `trial`. A file
    that is missing or damaged is made anew: it is derived.

    Optuna's INFO messages are turned off for the process, since it would print one for the file and one a trial.

    Args:
        path: of the file; its folder must exist.
    """

    def __init__(self, path: Path):
        self.path = path
        self._copy: optuna.Study | None = None
        self._mirrored: dict[int, int] = {}
        """How many epochs the file has of each of its trials."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def sync(self, study: optuna.Study) -> bool:
        """Adds the finished trials of `study` that the file lacks, as they are.

        A trial that was pruned in an earlier search and has gone on since makes the file be written anew.

        Returns:
            Whether the file has them all now. False where it cannot be written at this moment, as when somebody is
            reading it; the next sync adds what this one could not.
        """
        if not self.path.exists():
            self._copy = None
        if self._copy and not self._missing(study) and not self._outdated(study):
            return True
        # Optuna itself would try five times, with up to two seconds between, and hold up the search.
        if _is_locked(self.path):
            return False
        try:
            self._add_missing(study)
        except (SQLAlchemyError, StorageInternalError, RuntimeError) as error:  # Optuna wraps some of SQLAlchemy's.
            if isinstance(error.__cause__ or error, OperationalError | sqlite3.OperationalError):
                return False
            self._delete()
            self._add_missing(study)
        return True

    def _add_missing(self, study: optuna.Study) -> None:
        mirror = self._copy = self._copy or self._open()
        if self._outdated(study):
            self._delete()
            mirror = self._copy = self._open()
        for trial in self._missing(study):
            added = copy.deepcopy(trial)
            added.set_user_attr("trial", trial.number)
            mirror.add_trial(added)
            self._mirrored[trial.number] = len(trial.intermediate_values)
        if study.metric_names:
            mirror.set_metric_names(study.metric_names)

    def _missing(self, study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
        finished = study.get_trials(deepcopy=False, states=FINISHED)
        return [trial for trial in finished if trial.number not in self._mirrored]

    def _outdated(self, study: optuna.Study) -> bool:
        """Whether a trial has gone on since it was added."""
        trials = study.get_trials(deepcopy=False)
        return any(
            number < len(trials) and len(trials[number].intermediate_values) != epochs
            for number, epochs in self._mirrored.items()
        )

    def _open(self) -> optuna.Study:
        # A path within a URL would be read as part of it: `?` begins its options, and Optuna fills in `{...}`.
        connect = partial(sqlite3.connect, self.path, timeout=LOCK_SECONDS, check_same_thread=False)
        storage = RDBStorage("sqlite:///optuna.db", engine_kwargs={"creator": connect})
        name, *_ = [*optuna.get_all_study_names(storage), self.path.resolve().parent.name]
        mirror = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)
        self._mirrored = {
            trial.user_attrs.get("trial", -1): len(trial.intermediate_values)
            for trial in mirror.get_trials(deepcopy=False)
        }
        return mirror

    def _delete(self) -> None:
        self._copy = None
        self.path.unlink(missing_ok=True)
        # SQLite would roll the old file's journal back into the new file.
        self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)


def _is_locked(path: Path) -> bool:
    """Whether the file cannot be written at this moment; False for a damaged file, which whoever opens it will find."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError:
        return False
    return False
