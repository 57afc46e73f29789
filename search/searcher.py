"""Optuna behind Ray Tune's `Searcher`: hands out trials, and tells the study the truth about how they ended."""

import contextlib
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from results.journal.journal import TrialRecord
from search.cluster.nodes import Nodes
from search.trials import Trials
from trainable.storage.mirror import Mirror
from trainable.storage.remote import StorageError
from trainable.training.trial_folder import drop_checkpoints, drop_progress, drop_weights

MAX_CRASHES = 3
"""So many times a trial's process dies without a new evaluation in between, and the trial has failed."""


class StudySearcher(Searcher):
    """First the trials that a broken search left unfinished, then those that its memory says are next.

    A trial whose process died is the next to be handed out: it goes on from its last evaluation. Ray's own retries are
    not made use of, since they know nothing of evaluations.

    A trial that does not go on at a rung pauses, or is ended as PRUNED, and comes as another trial of Ray's when it is
    promoted. Ray gives the same call for stopped and natural ends, so the trial says of each report whether it is its
    `final` one.

    Args:
        study: the memory of the trials.
        folder: where each trial has its own folder.
        keep: trials whose weights are kept, the best ones.
        say: called with what a trial wants the user to know.
        crashes: how often the process of a trial died since its last evaluation, in the rounds before this one.
        trials: how many the search is to have; None for no end.
        mirror: of the run, where that lies in a remote storage.
        nodes: where trials may run; told of what happens to them there.

    Attributes:
        alive: whether Ray has a trial that has not ended, as far as is known.
        begun: whether a trial's process has begun, in this round or before.
    """

    def __init__(
        self,
        study: Trials,
        folder: Path,
        keep: int = 10,
        say: Callable[[str], None] = lambda note: None,
        crashes: dict[int, int] | None = None,
        trials: int | None = None,
        mirror: Mirror | None = None,
        nodes: Nodes | None = None,
    ):
        super().__init__(metric="val_loss", mode="min")
        self.study = study
        self.folder = folder
        self.keep = keep
        self.say = say
        self.numbers: dict[str, int] = {}
        self.crashes = dict(crashes or {})
        self.trials = trials
        self.mirror = mirror
        self.nodes = nodes or Nodes()
        self.alive = self.begun = False
        self.memory: tuple[int, int] | None = None
        """Bytes that the reference has taken at most and that there are, once it has reported an epoch."""
        self.pause: str | None = None
        """Why the search cannot go on for now: the disk or the storage has given out."""
        self._failures: dict[int, str] = {}
        self._live: set[int] = set()
        self._unfit: set[int] = set()
        self._dropped: set[int] = set()
        """Trials of whose folder no more is kept than is to be."""
        for record in self.study.unfinished:
            self._end_or_pause(record)
        self._waiting = self.study.unfinished

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of the next trial: its number, recipe and folder, and what it has reported by now.

        None where there is none now and one that is alive may still die or let another be promoted; `Searcher.FINISHED`
        where none is, and once the search has to pause: for anything else, Ray would wait minutes when no trial is
        alive.
        """
        record = None
        if not self.pause:
            with self._pausing():
                record = self._waiting.pop(0) if self._waiting else self.study.next(self.trials)
        if record is None:
            return None if self.alive and not self.pause else str(Searcher.FINISHED)
        self.numbers[trial_id] = record.number
        self._dropped.discard(record.number)
        self._live.add(record.number)
        self.alive = True
        return {
            "number": record.number,
            "recipe": record.recipe,
            "folder": str(self.folder / f"{record.number:04d}"),
            "failure": record.error,
            "reported": list(record.history),
        }

    def goes_on(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Takes in an epoch, and says whether the trial trains on after it."""
        number = self.numbers[trial_id]
        if "row" not in result or self.pause:
            return True
        self._take_in(number, result)
        with self._pausing():
            return self.study.goes_on(number)
        return True  # The search pauses, which ends the trial.

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Takes in a report: that the trial has begun, an epoch, or why it failed."""
        number = self.numbers[trial_id]
        self.begun = True
        if result.get("begun"):
            self.nodes.begun(number, result.get("node_id", ""))
        for note in result.get("notes", ()):
            self.say(note)
        self.pause = self.pause or result.get("pause")
        if fault := result.get("node_fault"):
            self._unfit.add(number)
            self.nodes.failed(number, result.get("node_id", ""), fault)
            self.pause = self.pause or self.nodes.none_left
        elif failure := result.get("failure"):
            self._failures[number] = failure
        elif "row" in result and not self.pause:
            self._take_in(number, result)

    def _take_in(self, number: int, result: dict[str, Any]) -> None:
        """Takes in an epoch, if it is not known yet."""
        with self._pausing():
            if self.study.report(number, result["row"]):
                self.memory = result.get("memory") if number == 0 else self.memory
                self.crashes.pop(number, None)
                self.nodes.went_on(number)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Ends the trial; one whose process died without a cause of its own stays unfinished, to be run again."""
        number = self.numbers[trial_id]
        self._live.discard(number)
        if result and not error:
            self.on_trial_result(trial_id, result)
        if not self.pause:
            with self._pausing():
                self._end(number)

    def _end(self, number: int) -> None:
        record = self.study.records[number]
        if number in self._failures:
            self.study.end(number, "FAILED", self._failures[number])
        elif self._end_or_pause(record):
            pass
        elif number in self._unfit:
            self._unfit.discard(number)
            self.say(f"trial {number}: it goes on elsewhere after epoch {len(record.history)}")
            self._waiting.insert(0, record)
        else:
            self.crashes[number] = self.crashes.get(number, 0) + 1
            for blameless in self.nodes.died(number):
                self.crashes.pop(blameless, None)
            if self.crashes.get(number, 0) >= MAX_CRASHES:
                self.study.end(
                    number, "FAILED", f"its process died {MAX_CRASHES} times without a new evaluation in between"
                )
            else:
                self.say(f"trial {number}: its process died after epoch {len(record.history)}; it goes on from there")
                self._waiting.insert(0, record)
        self._drop_what_is_not_needed(record)

    def _end_or_pause(self, record: TrialRecord) -> bool:
        """Ends a trial that has come to its end, or pauses it at a rung; False where it is to train on."""
        if record.history and record.history[-1].final:
            self.study.end(record.number, "COMPLETED")
        elif not self.study.goes_on(record.number):
            self.study.pause(record.number)
        return record.status != "RUNNING"

    def close(self) -> None:
        """Ends the trials that wait at a rung, once none of them is to go on."""
        paused = self.study.paused
        self.study.close()
        for record in paused:
            if record.number not in self._dropped:
                self._drop_what_is_not_needed(record)

    @contextlib.contextmanager
    def _pausing(self) -> Iterator[None]:
        """Pauses the search where the journal cannot be written."""
        try:
            yield
        except StorageError as error:
            self.pause = str(error)
        except OSError as error:
            self.pause = f"{self.study.journal.path}: {error.strerror or error}"

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the searcher's memory."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Never called: a search is resumed from the journal."""
        raise NotImplementedError("a search is resumed by --resume, which replays the journal")

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles the searcher into a file that is never read.
        return {}

    def _drop_what_is_not_needed(self, record: TrialRecord) -> None:
        """Drops what only a trial that goes on needs, once it has ended or others wait before it, and lost weights."""
        if record.status == "PAUSED":
            self._drop_last_in_line()
        elif record.status != "RUNNING":
            drop_checkpoints(self.folder / f"{record.number:04d}", self.mirror)
            if record.best:
                drop_weights(self.folder / f"{record.number:04d}", self.mirror, record.best.epoch)
            self._drop_losers()

    def _drop_last_in_line(self) -> None:
        """Keeps what the best of the paused trials go on from; the others train again when they are promoted."""
        kept = [record for record in self.study.paused if record.number not in self._dropped]
        for record in sorted(kept, key=attrgetter("objective"))[self.keep :]:
            drop_progress(self.folder / f"{record.number:04d}", self.mirror)
            self._dropped.add(record.number)

    def _drop_losers(self) -> None:
        """Keeps the weights of the best trials alone; the others' recipes give them again."""
        ended = [record for record in self.study.finished if record.number not in self._dropped]
        sound = [record for record in ended if record.status != "FAILED" and record.best]
        ranked = sorted(sound, key=attrgetter("objective"))
        for record in [*ranked[self.keep :], *(record for record in ended if record not in sound)]:
            drop_weights(self.folder / f"{record.number:04d}", self.mirror)
            self._dropped.add(record.number)
