"""The search's memory: an Optuna study and the rungs, both rebuilt from the journal.

What happens to a trial is written to the journal first and applied second, by the same code that replays a
journal when a search is resumed. So a resumed search stands where the broken one stood. (Why not Ray's own restore:
it drops ASHA's rungs, and a killed driver can leave its state unreadable.)
"""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FixedTrial, TrialState

from results.journal.events import Asked, Ended, Event, JournalError, Paused, Promoted, Reported
from results.journal.journal import Journal, TrialRecord
from search.patience import Verdict, verdict
from search.rungs import Rungs
from search.sampling import Journalled, SearchedTrials, as_kept, sampler_of, seed_of
from search.trials import Trials
from spaces.budget import shorten_heads
from spaces.registry import Space
from trainable.metric import METRICS, VAL_LOSS
from trainable.micro_batch import OF_RECIPE, with_micro_batch
from trainable.model_signal import FEATURES
from trainable.recipe import Recipe, cap_restart_cycles, reference


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
    align: str | None = None
    """By what pairs are registered in every trial; None is what each recipe says."""
    metric: str = VAL_LOSS
    """What trials are compared by, one of `METRICS`."""


class SearchStudy(Trials):
    """Trials as the search knows them.

    Args:
        space: where recipes come from.
        budget: what they are fitted to.
        journal: replayed at once; then written.
        rungs: say which trials go on; told of every event, replayed or new.
        sampler: one of `search.sampling.SAMPLERS`.
        forced: take the journal's parameters as they are where the space would draw others. The search then goes on
            with draws of its own: not those that it would have made undisturbed.
        bounded: show the sampler a part of very many trials, see `SearchedTrials`.
        numbered: each draw has a generator of its own, seeded by the trial's number, and what the journal holds is not
            drawn again. Otherwise one generator draws all trials; it is as far as it was once it has drawn them anew.
        portfolio: try the space's portfolio before anything is drawn.
        earlier: parameters of recipes that are tried before that.
        patience: asks for no more trials where these have nothing to gain, see `search.patience`; None never does so.

    Raises:
        JournalError: the space no longer gives the journal's parameters, so that going on would be another search.
    """

    def __init__(
        self,
        space: Space,
        budget: Budget,
        journal: Journal,
        rungs: Rungs,
        sampler: str = "tpe",
        forced: bool = False,
        bounded: bool = True,
        numbered: bool = True,
        portfolio: bool = True,
        earlier: Sequence[dict[str, Any]] = (),
        patience: str | None = None,
    ):
        super().__init__(journal)
        self.space = space
        self.budget = budget
        self.rungs = rungs
        self.sampler = sampler
        self.forced = forced
        self.numbered = numbered
        self._memory = SearchedTrials(bounded)
        self.optuna = optuna.create_study(
            storage=self._memory, direction="minimize", sampler=sampler_of(sampler, budget.seed)
        )
        if (metric := METRICS[budget.metric]).more_is_better:
            self.optuna.set_metric_names([metric.lowered])
        self._patience = patience
        self._bests: list[float] = []
        self._trials: dict[int, optuna.Trial] = {}
        portfolio_of_space = map(as_kept, space.portfolio(budget.max_epochs) if portfolio else [])
        self._first = [*earlier, *(each for each in portfolio_of_space if each not in earlier)]
        whole = dataclasses.replace(reference(budget.max_epochs), model=space.reference_model)
        self._reference = fit_recipe(whole, budget)
        errors: dict[int, str | None] = {}
        for event in journal.events:
            if isinstance(event, Asked):
                errors[event.trial] = self._ask_again(event)
            self._apply(event)
        for number, error in errors.items():
            if error:
                self.end(number, "FAILED", error)
        if forced and not numbered:
            # It has drawn nothing yet, and would now draw what the journal's first trials had.
            self.optuna.sampler.reseed_rng()

    @property
    def pauses_at(self) -> tuple[int, ...]:
        """The rungs, where trials wait there."""
        return self.rungs.epochs if self.rungs.promote else ()

    def left(self, trials: int) -> int:
        """How many of so many trials have still to be asked for, or to train on, as far as is known by now."""
        promotable = self.rungs.next() is not None or self.rungs.last() is not None
        to_ask = 0 if self.over(trials) else max(trials - len(self.records), 0)
        return to_ask + max(len(self.unfinished), int(promotable))

    def over(self, trials: int) -> Verdict | None:
        """Whether those of so many trials that have not been asked for have nothing to gain; None where they may."""
        if self._patience is None:
            return None
        at_rung = self.rungs.at_lowest()
        drawn = [loss for number, loss in at_rung.items() if number > len(self._first)]
        of_rung, of_all = (list(at_rung.values()), drawn), len(self.records)
        return verdict(self._patience, self._bests, *of_rung, max(trials - of_all, 0), of_all, self.budget.metric)

    def next(self, trials: int | None = None) -> TrialRecord | None:
        """The trial to train next: one that is promoted, or a new one; None where there is none of so many.

        Args:
            trials: how many the search is to have; None for no end.
        """
        promoted = self.rungs.next()
        if promoted is None:
            if trials is None or (len(self.records) < trials and not self.over(trials)):
                return self.ask()
            promoted = self.rungs.last()
        if promoted is None:
            return None
        self._write(Promoted(promoted, time.time()))
        return self.records[promoted]

    def ask(self) -> TrialRecord:
        """A new trial; the first one is the reference. A space that raises gives a trial that has FAILED."""
        trial, recipe, error = self._draw()
        self._write(Asked(trial.number, as_kept(trial.params), recipe, trial.number == 0, time.time()))
        if error:
            self.end(trial.number, "FAILED", error)
        return self.records[trial.number]

    def goes_on(self, number: int) -> bool:
        """Whether a trial trains on after its last epoch; where it has just come to a rung, that is decided now."""
        history = self.records[number].history
        if not history or history[-1].final or not self.rungs.ends(number, history[-1].epoch):
            return True
        if not self.rungs.goes_on(number):
            return False
        self._write(Promoted(number, time.time()))
        return True

    def pause(self, number: int) -> None:
        """Has a trial that has come to a rung wait there, or end where its rungs let none go on later."""
        if self.rungs.promote:
            self._write(Paused(number, time.time()))
        else:
            self.end(number, "PRUNED")

    def close(self) -> None:
        """Ends the trials that wait, and tells Optuna so."""
        super().close()
        for seen in self.optuna.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            if self.records[seen.number].status == "PRUNED":
                self.optuna.tell(seen.number, state=TrialState.PRUNED)

    def _apply(self, event: Event) -> None:
        super()._apply(event)
        self.rungs.take_in(event)
        record, trial = self.records[event.trial], self._trials[event.trial]
        if isinstance(event, Reported):
            trial.report(event.metrics.objective, event.metrics.epoch)
            self._bests.append(min([event.metrics.objective, *self._bests[-1:]]))
        elif isinstance(event, Promoted):
            self._memory.take_up(trial)
        elif record.status == "PAUSED" or (record.status == "PRUNED" and self.rungs.promote):
            self._memory.set_aside(trial)
        elif record.status == "COMPLETED":
            self.optuna.tell(trial, record.objective)
        elif isinstance(event, Ended):
            self.optuna.tell(trial, state=TrialState.PRUNED if record.status == "PRUNED" else TrialState.FAIL)

    def _draw(self) -> tuple[optuna.Trial, Recipe | None, str | None]:
        """A new trial and its recipe, or why there is none: first the reference, then what is to be tried first."""
        number = len(self._trials)
        if 0 < number <= len(self._first):
            self.optuna.sampler = Journalled(self._first[number - 1], self.budget.seed)
        elif self.numbered:
            self.optuna.sampler = sampler_of(self.sampler, seed_of(self.budget.seed, number))
        with self._memory.for_sampler(self.optuna):
            return self._build()

    def _build(self) -> tuple[optuna.Trial, Recipe | None, str | None]:
        """A trial of what the sampler now draws; the first is the reference."""
        number = len(self._trials)
        if number == 0 and (parameters := self._reference_parameters()):
            self.optuna.enqueue_trial(parameters)
        trial = self._trials[number] = self.optuna.ask()
        return trial, *self._recipe(trial)

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
        """Makes a trial of the journal anew; returns why it has no recipe, if so."""
        if self.numbered or self.forced:
            # A parameter that the space has gained since then is as in the reference, if the recipe stays as it was.
            gained = as_kept(self.space.reference_parameters(self.budget.max_epochs) or {})
            before, self.optuna.sampler = self.optuna.sampler, Journalled(gained | event.parameters, self.budget.seed)
            trial, recipe, error = self._build()
            self.optuna.sampler = before
        else:
            trial, recipe, error = self._draw()
        drawn = as_kept(trial.params)
        kept = {name: value for name, value in drawn.items() if name in event.parameters or recipe != event.recipe}
        if not self.forced and (trial.number, kept) != (event.trial, event.parameters):
            raise JournalError(
                f"{self.journal.path}: trial {event.trial} was drawn with {event.parameters}, but space "
                f"{self.space.name} now draws {drawn}; the space or the libraries have changed"
            )
        return error


def fit_recipe(recipe: Recipe, budget: Budget) -> Recipe:
    """A space's recipe as this search trains it."""
    fitted = shorten_heads(recipe, budget.grace)
    fitted = dataclasses.replace(fitted, seed=budget.seed, image_size=budget.image_size, metric=budget.metric)
    if budget.align:
        fitted = dataclasses.replace(fitted, input=dataclasses.replace(fitted.input, alignment=budget.align))
    return cap_restart_cycles(with_micro_batch(fitted, _at_a_time(fitted, budget)), budget.images)


def _at_a_time(recipe: Recipe, budget: Budget) -> str:
    """As the budget says, which has memory for so many images; a pair of features is two of them."""
    if recipe.input.signal != FEATURES or budget.micro_batch == OF_RECIPE:
        return budget.micro_batch
    return str(max(1, int(budget.micro_batch) // 2))
