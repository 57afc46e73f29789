"""Searches as Ray drives them with one worker, their trials made up."""

import hashlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import TrialScheduler

from results.journal.journal import Journal
from search.scheduler import FairASHA
from search.searcher import StudySearcher
from search.study import Budget, SearchStudy
from spaces.registry import Space, load_space

Losses = Callable[[dict[str, Any], int], float | str]
"""Functions from a recipe and an epoch to its loss, or to a text: why the trial fails there."""


def made_up_losses(recipe: dict[str, Any], epoch: int) -> float:
    """Better the nearer the first learning rate is to 1e-3 and the longer it trains; no two recipes alike."""
    distance = abs(math.log10(recipe["stages"][0]["learning_rate"]) + 3)
    digest = hashlib.sha256(f"{recipe}{epoch}".encode()).digest()
    return 1 + distance + 1 / epoch + digest[0] / 1024


class FakeSearch:
    """One search on one journal, which it goes on with where there is one.

    Args:
        folder: of the journal.
        space: a space, or a name of `spaces/`.
        losses: what trials report.
    """

    def __init__(
        self,
        folder: Path,
        space: Space | str = "learning_rate",
        losses: Losses = made_up_losses,
        max_epochs: int = 8,
        sampler: str = "tpe",
        budget: Budget | None = None,
        forced: bool = False,
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.losses = losses
        self.journal = Journal(folder / "journal.jsonl")
        self.scheduler = FairASHA(grace=2, max_epochs=max_epochs, reduction=2)
        self.study = SearchStudy(
            load_space(space) if isinstance(space, str) else space,
            budget or Budget(max_epochs, grace=2, images=1000, seed=7),
            self.journal,
            sampler,
            self.scheduler.replay,
            forced,
        )
        self.searcher = StudySearcher(self.study, self.scheduler, folder / "trials")
        self._started = 0

    def run(self, trials: int) -> "FakeSearch":
        """Runs trials until so many have ended."""
        while len(self.study.finished) < trials:
            self.run_trial()
        return self

    def run_trial(self, epochs: int = 10**6) -> str:
        """Runs one trial, in the order of calls of Ray's controller; returns its id.

        Args:
            epochs: after which its process dies.
        """
        trial = self.start_trial()
        result: dict[str, Any] = {}
        for result in self._results(trial.config):
            if result.get("epoch", 0) > epochs:
                self.searcher.on_trial_complete(trial.trial_id, error=True)
                return trial.trial_id
            if self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                break
            self.searcher.on_trial_result(trial.trial_id, result)
        self.searcher.on_trial_complete(trial.trial_id, result)
        return trial.trial_id

    def start_trial(self) -> Any:
        """Asks for a trial and adds it, as Ray does."""
        self._started += 1
        trial_id = f"live-{self._started}"
        trial = SimpleNamespace(trial_id=trial_id, config=self.searcher.suggest(trial_id))
        self.scheduler.on_trial_add(None, trial)
        return trial

    def _results(self, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if config["failure"]:
            yield {"failure": config["failure"]}
            return
        ends = [0]
        for stage in config["recipe"]["stages"]:
            ends.append(ends[-1] + stage["epochs"])
        for epoch in range(1, ends[-1] + 1):
            loss = self.losses(config["recipe"], epoch)
            if isinstance(loss, str):
                yield {"failure": loss}
                return
            stage = sum(end < epoch for end in ends[1:])
            yield made_up_row(epoch, loss, stage=stage, final=epoch == ends[-1])


def made_up_row(epoch: int, val_loss: float, **more: Any) -> dict[str, Any]:
    """What a trial reports of an epoch."""
    row = dict.fromkeys(("train_loss", "val_loss_ce", "val_loss_bbox", "val_loss_giou", "learning_rate"), 0.5)
    row |= {"precision": 0.25, "recall": 0.5, "f1": 1 / 3, "seconds": 1.5 * epoch, "within_epoch": []}
    row["shared_from"] = None
    row |= {"epoch": epoch, "stage": 0, "val_loss": val_loss, "final": False, "node": "worker", "pid": 1}
    return row | more


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., FakeSearch]:
    """Starts a `FakeSearch` in the test's folder, or goes on with the one there; takes its other arguments."""
    return lambda *arguments, folder=tmp_path, **named: FakeSearch(folder, *arguments, **named)


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """`made_up_row`."""
    return made_up_row
