"""Whole searches in milliseconds: the product's own searcher and scheduler, and its peers, behind a simulated clock.

Workers train made-up trials: a trial's next epoch takes as long, and comes to, what its curve says. All else is real.
Searcher and scheduler are called in the order of Ray's controller: a report goes to the scheduler first, and to the
searcher unless the scheduler stops the trial; then `on_trial_complete` of both has it.
"""

import dataclasses
import heapq
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.pruners import HyperbandPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch
from surrogate import Curve

from results.journal.journal import Journal
from search.scheduler import FairASHA
from search.searcher import StudySearcher
from search.study import Budget, SearchStudy, fit_recipe
from spaces.budget import default_grace
from spaces.registry import Space, load_space
from trainable.history import EpochRow
from trainable.recipe import Recipe

START_SECONDS = 0.3
"""From a trial's being handed out to a warm worker until it trains, on the sample data set."""
REDUCTION = 3.0
MICRO_BATCH = "16"
"""Images at a time on a CPU, as in the tables."""


@dataclass(frozen=True)
class Setting:
    """What all sides of a comparison are given."""

    images: int
    """Pairs to train on."""
    trials: int
    seed: int
    max_epochs: int = 24
    space: str = "staged"

    @property
    def budget(self) -> Budget:
        """What every recipe is fitted to."""
        return Budget(self.max_epochs, default_grace(self.max_epochs), self.images, self.seed, MICRO_BATCH)


@dataclass
class Started:
    """A trial that a worker has been given."""

    handle: Any
    """The search's own."""
    recipe: Recipe
    epoch: int = 0
    """Epochs that it has trained."""


class Search(Protocol):
    """A search as the clock drives it."""

    def start(self, alive: bool) -> Started | None:
        """The next trial for an idle worker; None for none at present.

        Args:
            alive: whether any other trial is being trained.
        """

    def report(self, trial: Started, loss: float) -> bool:
        """Takes in the loss of a trial's latest epoch; says whether the trial goes on. One at its end never does."""

    def close(self) -> None:
        """Called when no trial is left.

        Raises:
            RuntimeError: the search is not over.
        """


@dataclass(frozen=True)
class Course:
    """How a search went: an element an epoch of any trial, in the order in which they ended.

    Attributes:
        seconds: [epochs] of the clock.
        best: [epochs] lowest loss so far.
        busy: share of the workers' time that was spent on trials.
    """

    seconds: np.ndarray
    best: np.ndarray
    busy: float

    @property
    def epochs(self) -> int:
        """That were spent."""
        return len(self.best)

    def epochs_to(self, loss: float) -> float:
        """Epochs until `loss` was reached; infinite where it was not."""
        reached = self.best <= loss
        return float(reached.argmax() + 1) if reached.any() else float("inf")

    def seconds_to(self, loss: float) -> float:
        """Seconds until `loss` was reached; infinite where it was not."""
        epochs = self.epochs_to(loss)
        return float(self.seconds[int(epochs) - 1]) if np.isfinite(epochs) else float("inf")


def simulate(search: Search, curve_of: Callable[[Recipe], Curve], workers: int) -> Course:
    """Runs a search on so many workers to its end."""
    clock, trained = 0.0, 0.0
    running: list[tuple[float, int, Started, Curve]] = []
    seconds: list[float] = []
    losses: list[float] = []
    tickets = itertools.count()

    def train(trial: Started, curve: Curve, delay: float = 0.0) -> float:
        """Puts the end of a trial's next epoch into the calendar; seconds until then."""
        taken = delay + float(curve.seconds[trial.epoch])
        heapq.heappush(running, (clock + taken, next(tickets), trial, curve))
        return taken

    while True:
        while len(running) < workers and (started := search.start(alive=bool(running))):
            trained += train(started, curve_of(started.recipe), START_SECONDS)
        if not running:
            search.close()
            return Course(np.array(seconds), np.minimum.accumulate(losses), trained / (workers * max(clock, 1e-9)))
        clock, _, trial, curve = heapq.heappop(running)
        trial.epoch += 1
        loss = float(curve.losses[trial.epoch - 1])
        seconds.append(clock)
        losses.append(loss)
        if search.report(trial, loss):
            trained += train(trial, curve)


class RaySearch:
    """A searcher and a scheduler of Ray Tune.

    Args:
        searcher: asked for trials, and told of them.
        scheduler: asked whether they go on.
        recipe_of: reads the recipe, and how many epochs have been reported, out of a config.
        result_of: makes a report of a config, an epoch, its loss and whether it is the last one.
        trials: after so many, no more are asked for; None where the searcher knows.
    """

    def __init__(
        self,
        searcher: Any,
        scheduler: Any,
        recipe_of: Callable[[dict[str, Any]], tuple[Recipe, int]],
        result_of: Callable[[dict[str, Any], Recipe, int, float, bool], dict[str, Any]],
        trials: int | None = None,
    ):
        self.searcher, self.scheduler = searcher, scheduler
        self.recipe_of, self.result_of = recipe_of, result_of
        self.trials = trials
        self._started = 0
        self._over = False

    def start(self, alive: bool) -> Started | None:
        """Asks the searcher, and tells the scheduler of the trial."""
        if self._over or self._started == self.trials:
            return None
        self.searcher.alive = alive
        trial_id = f"{self._started:08d}"
        config = self.searcher.suggest(trial_id)
        if config is None or config == Searcher.FINISHED:
            self._over = config is not None
            return None
        self._started += 1
        trial = SimpleNamespace(trial_id=trial_id, config=config)
        self.scheduler.on_trial_add(None, trial)
        return Started(trial, *self.recipe_of(config))

    def report(self, trial: Started, loss: float) -> bool:
        """A report, and the end where it is the last or the scheduler says so."""
        ray_trial, last = trial.handle, trial.epoch == trial.recipe.epochs
        result = self.result_of(ray_trial.config, trial.recipe, trial.epoch, loss, last)
        decision = self.scheduler.on_trial_result(None, ray_trial, result)
        if decision != TrialScheduler.STOP:
            self.searcher.on_trial_result(ray_trial.trial_id, result)
            if not last:
                return True
        self.scheduler.on_trial_complete(None, ray_trial, result)
        self.searcher.on_trial_complete(ray_trial.trial_id, result)
        return False

    def close(self) -> None:
        """Nothing: what the searcher holds is dropped with it."""


class ProductSearch(RaySearch):
    """The search of this project, as `search/run.py` sets it up.

    Args:
        setting: what it is given.
        sampler: one of `search.sampling.SAMPLERS`.
    """

    def __init__(self, setting: Setting, sampler: str = "tpe"):
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        self.study, scheduler, searcher = _product(setting, Path(self._folder.name), sampler)
        super().__init__(searcher, scheduler, _config_recipe, _product_report)

    def close(self) -> None:
        """Checks that every trial has ended."""
        self.study.journal.close()
        self._folder.cleanup()
        if self.searcher.pause or self.study.unfinished or len(self.study.finished) != self.searcher.trials:
            raise RuntimeError(
                f"{len(self.study.finished)} of {self.searcher.trials} trials have ended: {self.searcher.pause}"
            )


def _product(setting: Setting, folder: Path, sampler: str) -> tuple[SearchStudy, FairASHA, StudySearcher]:
    """Study, scheduler and searcher of a new run folder."""
    scheduler = FairASHA(setting.budget.grace, setting.max_epochs, REDUCTION)
    journal = Journal(folder / "journal.jsonl")
    study = SearchStudy(load_space(setting.space), setting.budget, journal, sampler, scheduler.replay)
    return study, scheduler, StudySearcher(study, scheduler, folder / "trials", trials=setting.trials)


def _config_recipe(config: dict[str, Any]) -> tuple[Recipe, int]:
    return config["recipe"], len(config["reported"])


def _product_report(config: dict[str, Any], recipe: Recipe, epoch: int, loss: float, last: bool) -> dict[str, Any]:
    ends = itertools.accumulate(stage.epochs for stage in recipe.stages)
    row = EpochRow(
        epoch=epoch,
        stage=sum(end < epoch for end in ends),
        val_loss=loss,
        precision=0.0,
        recall=0.0,
        f1=0.0,
        seconds=float(epoch),
        final=last,
        node="simulated",
        pid=0,
    )
    return {"row": row, "epoch": epoch, "val_loss": loss, "trial": config["number"]}


def optuna_asha(setting: Setting, sampler: BaseSampler | None = None) -> RaySearch:
    """Ray's `OptunaSearch` and `ASHAScheduler` as Ray ships them, over a space of ours, its reference first.

    Args:
        setting: what it is given; grace period and reduction are ours.
        sampler: another one than the TPE that `OptunaSearch` makes.
    """
    space = load_space(setting.space)
    searcher = OptunaSearch(
        partial(_defined_by_run, space, setting.budget),
        metric="val_loss",
        mode="min",
        points_to_evaluate=[_reference_parameters(space, setting.max_epochs)],
        sampler=sampler,
        seed=None if sampler else setting.seed,
    )
    scheduler = ASHAScheduler(
        "training_iteration", "val_loss", "min", setting.max_epochs, setting.budget.grace, REDUCTION
    )
    return RaySearch(searcher, scheduler, lambda config: (config["recipe"], 0), _plain_report, setting.trials)


def random_asha(setting: Setting) -> RaySearch:
    """`optuna_asha` with draws at random."""
    return optuna_asha(setting, RandomSampler(seed=setting.seed))


def _defined_by_run(space: Space, budget: Budget, trial: Any) -> dict[str, Any]:
    return {"recipe": fit_recipe(space.build(trial, budget.max_epochs), budget)}


def _plain_report(config: dict[str, Any], recipe: Recipe, epoch: int, loss: float, last: bool) -> dict[str, Any]:
    return {"training_iteration": epoch, "val_loss": loss}


def _reference_parameters(space: Space, max_epochs: int) -> dict[str, Any]:
    parameters = space.reference_parameters(max_epochs)
    if parameters is None:
        raise ValueError(f"space {space.name} cannot express the reference, with which a peer is to begin")
    return parameters


class OptunaHyperband:
    """Optuna alone: its TPE and its Hyperband pruner, over a space of ours, its reference first."""

    def __init__(self, setting: Setting):
        self.setting = setting
        self.space = load_space(setting.space)
        budget = setting.budget
        self.study = optuna.create_study(
            sampler=TPESampler(seed=setting.seed),
            pruner=HyperbandPruner(budget.grace, setting.max_epochs, int(REDUCTION)),
        )
        self.study.enqueue_trial(_reference_parameters(self.space, setting.max_epochs))

    def start(self, alive: bool) -> Started | None:
        """Asks the study for a trial."""
        if len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING, *_ENDED))) == self.setting.trials:
            return None
        trial = self.study.ask()
        return Started(trial, _defined_by_run(self.space, self.setting.budget, trial)["recipe"])

    def report(self, trial: Started, loss: float) -> bool:
        """Reports, and ends the trial where it is pruned or at its end; its value is its best loss."""
        trial.handle.report(loss, trial.epoch)
        if trial.epoch == trial.recipe.epochs:
            values = self.study.get_trials(deepcopy=False)[trial.handle.number].intermediate_values
            self.study.tell(trial.handle, min(values.values()))
        elif trial.handle.should_prune():
            self.study.tell(trial.handle, state=TrialState.PRUNED)
        else:
            return True
        return False

    def close(self) -> None:
        """Nothing is left open."""


_ENDED = (TrialState.COMPLETE, TrialState.PRUNED)

SEARCHES: dict[str, Callable[[Setting], Search]] = {
    "ours": ProductSearch,
    "ours, random draws": partial(ProductSearch, sampler="random"),
    "OptunaSearch + ASHA": optuna_asha,
    "random + ASHA": random_asha,
    "Optuna + Hyperband": OptunaHyperband,
}
OURS, PEER, RANDOM = "ours", "OptunaSearch + ASHA", "random + ASHA"


def longer(setting: Setting, times: int) -> Setting:
    """The same with as many times more trials."""
    return dataclasses.replace(setting, trials=setting.trials * times)
