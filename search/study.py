"""The search's memory: an Optuna study and the scheduler's rungs, both rebuilt from the journal.

What is asked, reported and ended is written to the journal first and applied second, by the same code that replays a
journal when a search is resumed. So a resumed search stands where the broken one stood. (Why not Ray's own restore:
it drops ASHA's rungs, and a killed driver can leave its state unreadable.)
"""

import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import FixedTrial, TrialState

from results.journal.events import Asked, Ended, Event, JournalError, Reported, Status
from results.journal.journal import Journal, TrialRecord, take_in
from search.sampling import SearchedTrials, sampler_of
from spaces.budget import shorten_heads
from spaces.registry import Space
from trainable.history import EpochRow
from trainable.micro_batch import OF_RECIPE, with_micro_batch
from trainable.recipe import Recipe, cap_restart_cycles, reference
from trainable.text.shown import printable, printable_lines


@dataclasses.dataclass(frozen=True)
class Budget:
    """What every recipe of a search is fitted to."""

    max_epochs: int
    """Epochs of a trial at most."""
    grace: int
    """Epochs before a trial may be pruned; head-only stages are never longer."""
    images: int
    """Pairs to train on; they limit the restart cycles."""
    seed: int
    """Seed of every trial's training, and of the sampler."""
    micro_batch: str = OF_RECIPE
    """Images that go through the model at a time, see `trainable.micro_batch`."""
    image_size: int | None = None
    """Pixels of images' shorter edges in every trial; None is the size of the checkpoint's processor."""


class SearchStudy:
    """Trials as the search knows them.

    Args:
        space: where recipes come from.
        budget: what they are fitted to.
        journal: replayed at once; then written.
        sampler: one of `search.sampling.SAMPLERS`.
        on_replay: called with every replayed event, before it is applied; gives the scheduler its share.
        forced: take the journal's parameters as they are where the space would draw others. The search then goes on
            with draws of its own: not those that it would have made undisturbed.
        bounded: show the sampler a part of very many trials, see `SearchedTrials`.

    Raises:
        JournalError: the space no longer gives the journal's parameters, so that going on would be another search.
    """

    def __init__(
        self,
        space: Space,
        budget: Budget,
        journal: Journal,
        sampler: str = "tpe",
        on_replay: Callable[[Event], None] = lambda event: None,
        forced: bool = False,
        bounded: bool = True,
    ):
        self.space = space
        self.budget = budget
        self.journal = journal
        self.forced = forced
        self._memory = SearchedTrials(bounded)
        self.optuna = optuna.create_study(
            storage=self._memory, direction="minimize", sampler=sampler_of(sampler, budget.seed)
        )
        self.records: dict[int, TrialRecord] = {}
        self._trials: dict[int, optuna.Trial] = {}
        self._reference = fit_recipe(reference(budget.max_epochs), budget)
        errors: dict[int, str | None] = {}
        for event in journal.events:
            if isinstance(event, Asked):
                errors[event.trial] = self._ask_again(event)
            on_replay(event)
            self._apply(event)
        for number, error in errors.items():
            if error:
                self.end(number, "FAILED", error)
        if forced:
            # It has drawn nothing yet, and would now draw what the journal's first trials had.
            self.optuna.sampler.reseed_rng()

    @property
    def unfinished(self) -> list[TrialRecord]:
        """Trials that were asked for and have not ended, in the order of their numbers."""
        return [record for record in self.records.values() if record.status == "RUNNING"]

    @property
    def finished(self) -> list[TrialRecord]:
        """Trials that have ended, in the order of their numbers."""
        return [record for record in self.records.values() if record.status != "RUNNING"]

    def ask(self) -> TrialRecord:
        """A new trial; the first one is the reference. A space that raises gives a trial that has FAILED."""
        trial, recipe, error = self._draw()
        self._write(Asked(trial.number, _parameters(trial), recipe, trial.number == 0, time.time()))
        if error:
            self.end(trial.number, "FAILED", error)
        return self.records[trial.number]

    def report(self, number: int, row: EpochRow) -> bool:
        """Takes in an epoch; False, and nothing done, where the epoch is known already."""
        history = self.records[number].history
        if history and row.epoch <= history[-1].epoch:
            return False
        self._write(Reported(number, row, time.time()))
        return True

    def end(self, number: int, status: Status, error: str | None = None) -> None:
        """Ends a trial as COMPLETED, PRUNED or FAILED; a second time is ignored."""
        if self.records[number].status == "RUNNING":
            error = error and printable_lines(error)  # It tells of files, whose names may come from anyone.
            self._write(Ended(number, status, error, time.time()))

    def _write(self, event: Event) -> None:
        self.journal.append(event)
        self._apply(event)

    def _apply(self, event: Event) -> None:
        take_in(self.records, event)
        if isinstance(event, Asked):
            return
        record, trial = self.records[event.trial], self._trials[event.trial]
        if isinstance(event, Reported):
            trial.report(event.metrics.val_loss, event.metrics.epoch)
        elif event.status == "COMPLETED" and record.best:
            self.optuna.tell(trial, record.val_loss)
        else:
            self.optuna.tell(trial, state=TrialState.PRUNED if event.status == "PRUNED" else TrialState.FAIL)

    def _draw(self, parameters: dict[str, Any] | None = None) -> tuple[optuna.Trial, Recipe | None, str | None]:
        """A trial with these parameters, as far as they are given, and its recipe, or why there is none."""
        with self._memory.for_sampler(self.optuna):
            trial = self._next_trial(parameters)
            return trial, *self._recipe(trial)

    def _next_trial(self, parameters: dict[str, Any] | None) -> optuna.Trial:
        """A trial with these parameters, as far as they are given; the first one is the reference."""
        number = len(self._trials)
        if number == 0:
            parameters = parameters or self._reference_parameters()
        if parameters:
            self.optuna.enqueue_trial(parameters)
        self._trials[number] = self.optuna.ask()
        return self._trials[number]

    def _reference_parameters(self) -> dict[str, Any] | None:
        """The space's parameters for the reference, where they really give it at this budget."""
        parameters = self.space.reference_parameters(self.budget.max_epochs)
        if parameters is None:
            return None
        recipe = self.space.build(FixedTrial(parameters), self.budget.max_epochs)  # type: ignore[arg-type]
        return parameters if fit_recipe(recipe, self.budget) == self._reference else None

    def _recipe(self, trial: optuna.Trial) -> tuple[Recipe | None, str | None]:
        """The trial's recipe, or why there is none."""
        if trial.number == 0:
            if self._reference_parameters():
                self.space.build(trial, self.budget.max_epochs)
            else:
                trial.set_user_attr("recipe", self._reference.to_dict())
            return self._reference, None
        try:
            return fit_recipe(self.space.build(trial, self.budget.max_epochs), self.budget), None
        except Exception as error:  # A user's space may raise whatever it likes; the search goes on.
            return None, f"space {self.space.name} raised {type(error).__name__}: {error}"

    def _ask_again(self, event: Asked) -> str | None:
        """Draws a trial of the journal again; returns why it has no recipe, if so."""
        trial, _, error = self._draw(event.parameters if self.forced else None)
        drawn = json.loads(json.dumps(_parameters(trial)))  # As the journal keeps them: a tuple is a list there.
        if not self.forced and (trial.number, drawn) != (event.trial, event.parameters):
            raise JournalError(
                f"{self.journal.path}: trial {event.trial} was drawn with {event.parameters}, but space "
                f"{self.space.name} now draws {drawn}; the space or the libraries have changed"
            )
        return error


def _parameters(trial: optuna.Trial) -> dict[str, Any]:
    """What was drawn, by names as a journal may hold them: those in a user's space may be any text."""
    return {printable(name): value for name, value in trial.params.items()}


def fit_recipe(recipe: Recipe, budget: Budget) -> Recipe:
    """A space's recipe as this search trains it."""
    fitted = shorten_heads(recipe, budget.grace)
    fitted = dataclasses.replace(fitted, seed=budget.seed, image_size=budget.image_size)
    return cap_restart_cycles(with_micro_batch(fitted, budget.micro_batch), budget.images)
