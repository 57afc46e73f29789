"""Whole searches in milliseconds: the product's own searcher and scheduler, and its peers, behind a simulated clock.

Workers train made-up trials: a trial's next epoch takes as long, and comes to, what its curve says. All else is real.
Searcher and scheduler are called in the order of Ray's controller: a report goes to the scheduler first, and to the
searcher unless the scheduler stops the trial; then `on_trial_complete` of both has it. A searcher may hand out a trial
again, which then goes on after the epochs that it has reported, and says itself when the search is over.
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
from ray.tune.schedulers import ASHAScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from results.journal.journal import Journal
from search.rungs import rungs_of
from search.scheduler import RungScheduler
from search.searcher import StudySearcher
from search.study import Budget, SearchStudy, fit_recipe
from spaces.budget import default_grace
from spaces.registry import Space, load_space
from trainable.history import EpochRow
from trainable.recipe import Recipe

START_SECONDS = 0.3
"""From a trial's being handed out to a warm worker until it trains, on the sample data set."""
MICRO_BATCH = "16"
"""Images at a time on a CPU, as in the tables."""


_UNUSED: dict[str, Any] = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "node": "simulated", "pid": 0}


@dataclass(frozen=True)
class Setting:
    """What all sides of a comparison are given."""

    images: int
    """Pairs to train on."""
    trials: int
    seed: int
    max_epochs: int = 24
    space: str = "staged"
    grace: int | None = None
    """Epochs of the lowest rung; None is the product's default."""
    reduction: float = 4.0
    portfolio: tuple[dict[str, Any], ...] = ()
    """What ours tries first, in the place of the space's own."""

    @property
    def budget(self) -> Budget:
        """What every recipe is fitted to."""
        grace = self.grace or default_grace(self.max_epochs)
        return Budget(self.max_epochs, grace, self.images, self.seed, MICRO_BATCH)


@dataclass(frozen=True)
class Curve:
    """What a trial comes to, epoch by epoch."""

    losses: np.ndarray
    """[epochs] `val_loss`."""
    seconds: np.ndarray
    """[epochs] how long each takes."""


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
        """The next trial for an idle worker, or None for none at present; `alive`: whether any other is trained."""

    def report(self, trial: Started, loss: float) -> bool:
        """Takes in the loss of a trial's latest epoch; says whether the trial goes on. One at its end never does."""

    def close(self) -> None:
        """Called when no trial is left; raises RuntimeError where the search is not over."""


@dataclass(frozen=True)
class Course:
    """How a search went: an element an epoch of any trial, in the order in which they ended."""

    seconds: np.ndarray
    """[epochs] of the clock."""
    best: np.ndarray
    """[epochs] lowest loss so far."""
    busy: float
    """Share of the workers' time that was spent on trials."""

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
    clock, busy = 0.0, 0.0
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
            busy += train(started, curve_of(started.recipe), START_SECONDS)
        if not running:
            search.close()
            return Course(np.array(seconds), np.minimum.accumulate(losses), busy / (workers * clock))
        clock, _, trial, curve = heapq.heappop(running)
        loss = float(curve.losses[trial.epoch])
        trial.epoch += 1
        seconds.append(clock)
        losses.append(loss)
        if search.report(trial, loss):
            busy += train(trial, curve)


class RaySearch:
    """A searcher and a scheduler of Ray Tune.

    Args:
        searcher: asked for trials, and told of them. A config has the `recipe`, and what was `reported` of it before.
        scheduler: asked whether they go on.
        trials: after so many, no more are asked for; None where the searcher knows.
    """

    def __init__(self, searcher: Any, scheduler: Any, trials: int | None = None):
        self.searcher, self.scheduler, self.trials = searcher, scheduler, trials
        self._asked = 0

    def start(self, alive: bool) -> Started | None:
        """Asks the searcher, and tells the scheduler of the trial."""
        if self._asked == self.trials:
            return None
        self.searcher.alive = alive
        trial_id = f"{self._asked:08d}"
        config = self.searcher.suggest(trial_id)
        if config is None or config == Searcher.FINISHED:
            return None
        self._asked += 1
        trial = SimpleNamespace(trial_id=trial_id, config=config)
        self.scheduler.on_trial_add(None, trial)
        return Started(trial, config["recipe"], len(config.get("reported", ())))

    def report(self, trial: Started, loss: float) -> bool:
        """A report, and the end where it is the last or the scheduler says so."""
        ray_trial, last = trial.handle, trial.epoch == trial.recipe.epochs
        seconds = float(trial.epoch)
        row = EpochRow(epoch=trial.epoch, stage=0, val_loss=loss, seconds=seconds, final=last, **_UNUSED)
        result = {"training_iteration": trial.epoch, "epoch": trial.epoch, "val_loss": loss, "row": row}
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
    """The search of this project, as `search/run.py` sets it up; see there for `sampler`, `pruning` and `patience`.

    The space's own portfolio was chosen on all tables, so that it would be judged by what it was learnt from.
    """

    def __init__(
        self,
        setting: Setting,
        sampler: str = "tpe",
        pruning: str = "promotion",
        portfolio: bool = False,
        patience: str | None = None,
    ):
        self._folder = tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
        folder = Path(self._folder.name)
        rungs = rungs_of(pruning, setting.budget.grace, setting.max_epochs, setting.reduction)
        journal = Journal(folder / "journal.jsonl")
        space = dataclasses.replace(load_space(setting.space), portfolio=lambda _: list(setting.portfolio))
        self.study = SearchStudy(space, setting.budget, journal, rungs, sampler, portfolio=portfolio, patience=patience)
        searcher = StudySearcher(self.study, folder / "trials", trials=setting.trials)
        super().__init__(searcher, RungScheduler(searcher))

    def close(self) -> None:
        """Checks that every trial has ended, and none is left to be promoted."""
        left = self.study.left(self.searcher.trials)
        self.searcher.close()
        self.study.journal.close()
        self._folder.cleanup()
        ended = len(self.study.finished)
        asked = len(self.study.records) if self.study.over(self.searcher.trials) else self.searcher.trials
        if self.searcher.pause or left or ended != asked:
            raise RuntimeError(f"{ended} of {self.searcher.trials} trials have ended: {self.searcher.pause}")


def optuna_asha(
    setting: Setting, sampler: BaseSampler | None = None, grace: int | None = None, reduction: float | None = None
) -> RaySearch:
    """Ray's `OptunaSearch` and `ASHAScheduler` as Ray ships them, over a space of ours, its reference first.

    Args:
        setting: what it is given.
        sampler: another one than the TPE that `OptunaSearch` makes.
        grace: other than ours.
        reduction: other than ours.
    """
    space, budget = load_space(setting.space), setting.budget
    searcher = OptunaSearch(
        partial(_defined_by_run, space, budget),
        metric="val_loss",
        mode="min",
        points_to_evaluate=[_reference_parameters(space, setting)],
        sampler=sampler,
        seed=None if sampler else setting.seed,
    )
    rungs = setting.max_epochs, grace or budget.grace, reduction or setting.reduction
    return RaySearch(searcher, ASHAScheduler("training_iteration", "val_loss", "min", *rungs), setting.trials)


def random_asha(setting: Setting) -> RaySearch:
    """`optuna_asha` with draws at random."""
    return optuna_asha(setting, RandomSampler(seed=setting.seed))


class OptunaHyperband:
    """Optuna alone: its TPE and its Hyperband pruner, over a space of ours, its reference first."""

    def __init__(self, setting: Setting):
        self.setting, self.space = setting, load_space(setting.space)
        pruner = HyperbandPruner(setting.budget.grace, setting.max_epochs, round(setting.reduction))
        # The pruner deals trials to its brackets by the study's name.
        name = f"seed {setting.seed}"
        self.study = optuna.create_study(sampler=TPESampler(seed=setting.seed), pruner=pruner, study_name=name)
        self.study.enqueue_trial(_reference_parameters(self.space, setting))
        self._asked = 0

    def start(self, alive: bool) -> Started | None:
        """Asks the study for a trial."""
        if self._asked == self.setting.trials:
            return None
        self._asked += 1
        trial = self.study.ask()
        return Started(trial, _defined_by_run(self.space, self.setting.budget, trial)["recipe"])

    def report(self, trial: Started, loss: float) -> bool:
        """Reports, and ends the trial where it is pruned or at its end; its value is its best loss."""
        trial.handle.report(loss, trial.epoch)
        if trial.epoch == trial.recipe.epochs:
            values = self.study.get_trials(deepcopy=False)[trial.handle.number].intermediate_values
            self.study.tell(trial.handle, min(values.values()))
        elif trial.handle.should_prune():
            self.study.tell(trial.handle, state=optuna.trial.TrialState.PRUNED)
        else:
            return True
        return False

    def close(self) -> None:
        """Nothing is left open."""


def _defined_by_run(space: Space, budget: Budget, trial: Any) -> dict[str, Any]:
    return {"recipe": fit_recipe(space.build(trial, budget.max_epochs), budget)}


def _reference_parameters(space: Space, setting: Setting) -> dict[str, Any]:
    parameters = space.reference_parameters(setting.max_epochs)
    if parameters is None:
        raise ValueError(f"space {space.name} cannot express the reference, with which a peer is to begin")
    return parameters


OURS, PEER, RANDOM = "ours", "OptunaSearch + ASHA", "random + ASHA"
SEARCHES: dict[str, Callable[[Setting], Search]] = {
    OURS: partial(ProductSearch, portfolio=True),
    "ours, patience": partial(ProductSearch, portfolio=True, patience="auto"),
    "ours, no portfolio": ProductSearch,
    "ours, random draws": partial(ProductSearch, sampler="random"),
    "ours, stopping": partial(ProductSearch, pruning="stopping"),
    PEER: optuna_asha,
    # What `ASHAScheduler` does where nothing is said.
    f"{PEER}, its own rungs": partial(optuna_asha, grace=1, reduction=4),
    RANDOM: random_asha,
    "Optuna + Hyperband": OptunaHyperband,
}
