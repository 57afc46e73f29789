"""Searches as Ray drives them with one worker, their trials made up."""

import contextlib
import hashlib
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import TrialScheduler
from typer.testing import CliRunner, Result

from results.journal.journal import Journal
from search.cluster.cluster import Resources
from search.command_line import app
from search.console.interrupts import SIGNALS
from search.options import Options
from search.rungs import rungs_of
from search.scheduler import RungScheduler
from search.searcher import StudySearcher
from search.study import Budget, SearchStudy
from spaces.registry import Space, load_space
from tests.made_up import made_up_row
from tests.s3 import S3Server
from trainable.history import EpochRow
from trainable.storage.mirror import Mirror
from trainable.storage.remote import Remote

Losses = Callable[[dict[str, Any], int], float | dict[str, float] | str]
"""Functions from a recipe and an epoch to its loss, or to figures of it, or to a text: why the trial fails there."""


def made_up_losses(recipe: dict[str, Any], epoch: int) -> float:
    """Better the nearer the first learning rate is to 1e-3 and the longer it trains; no two recipes alike."""
    distance = abs(math.log10(recipe["stages"][0]["learning_rate"]) + 3)
    digest = hashlib.sha256(f"{recipe}{epoch}".encode()).digest()
    return 1 + distance + 1 / epoch + digest[0] / 1024


class FakeRay:
    """Ray Tune with one worker.

    Args:
        searcher: asked for trials, and told of them.
        losses: what they report.
    """

    def __init__(self, searcher: StudySearcher, losses: Losses = made_up_losses):
        self.searcher = searcher
        self.scheduler = RungScheduler(searcher)
        self.losses = losses
        self._started = 0

    def fit(self) -> None:
        """Runs trials until as many have ended as the searcher is to have."""
        while self.searcher.study.left(self.searcher.trials or 0):
            self.run_trial()

    def run_trial(self, epochs: int = 10**6) -> str:
        """Runs one trial to its end; returns its id.

        Args:
            epochs: after which its process dies.
        """
        return list(self.trial(epochs))[-1]

    def trial(self, epochs: int = 10**6) -> Iterator[str]:
        """One trial, in the order of calls of Ray's controller; gives its id before each of its reports."""
        trial = self.start_trial()
        if not isinstance(trial.config, dict):
            return  # There is none now.
        result: dict[str, Any] = {}
        for result in self._results(trial.config):
            yield trial.trial_id
            if result.get("epoch", 0) > epochs:
                self.searcher.on_trial_complete(trial.trial_id, error=True)
                return
            if self.scheduler.on_trial_result(None, trial, result) == TrialScheduler.STOP:
                break
            self.searcher.on_trial_result(trial.trial_id, result)
        self.searcher.on_trial_complete(trial.trial_id, result)

    def start_trial(self) -> Any:
        """Asks for a trial and adds it, as Ray does."""
        self._started += 1
        trial_id = f"live-{self._started}"
        return SimpleNamespace(trial_id=trial_id, config=self.searcher.suggest(trial_id))

    def _results(self, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if config["failure"]:
            yield {"failure": config["failure"]}
            return
        ends = [0]
        for stage in config["recipe"].stages:
            ends.append(ends[-1] + stage.epochs)
        for epoch in range(1, ends[-1] + 1):
            loss = self.losses(config["recipe"].to_dict(), epoch)
            if isinstance(loss, str):
                yield {"failure": loss}
                return
            stage = sum(end < epoch for end in ends[1:])
            figures = loss if isinstance(loss, dict) else {"val_loss": loss}
            yield made_up_report(epoch, **figures, stage=stage, final=epoch == ends[-1])


class FakeSearch(FakeRay):
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
        pruning: str = "promotion",
        earlier: Sequence[dict[str, Any]] = (),
        patience: str | None = None,
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.journal = Journal(folder / "journal.jsonl")
        self.study = SearchStudy(
            load_space(space) if isinstance(space, str) else space,
            budget or Budget(max_epochs, grace=2, images=1000, seed=7),
            self.journal,
            rungs_of(pruning, 2, max_epochs, 2),
            sampler,
            forced,
            numbered=pruning == "promotion",
            portfolio=pruning == "promotion",
            earlier=earlier,
            patience=patience,
        )
        super().__init__(StudySearcher(self.study, folder / "trials"), losses)

    def run(self, trials: int) -> "FakeSearch":
        """Runs a search of so many trials to its end."""
        self.searcher.trials = trials
        self.fit()
        self.searcher.close()
        self.searcher.trials = None
        return self


def made_up_report(epoch: int, val_loss: float, notes: Sequence[str] = (), **more: Any) -> dict[str, Any]:
    """What a trial reports to Ray Tune of an epoch."""
    return {"row": made_up_row(epoch, val_loss, **more), "epoch": epoch, "val_loss": val_loss, "notes": notes}


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., FakeSearch]:
    """Starts a `FakeSearch` in the test's folder, or goes on with the one there; takes its other arguments."""
    return lambda *arguments, folder=tmp_path, **named: FakeSearch(folder, *arguments, **named)


@pytest.fixture
def fake_ray() -> type[FakeRay]:
    """`FakeRay`."""
    return FakeRay


@pytest.fixture
def row() -> Callable[..., EpochRow]:
    """`made_up_row`."""
    return made_up_row


@pytest.fixture
def report() -> Callable[..., dict[str, Any]]:
    """`made_up_report`."""
    return made_up_report


NO_RAY = contextlib.nullcontext(Resources(1, 0.0, 1, 1))


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Result]]:
    """Runs a search by the flags of its command, with `losses` made up by `FakeRay`; `ray` is what stands for Ray."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    handlers = {number: signal.getsignal(number) for number in SIGNALS}

    def run(*flags: Any, losses: Losses = made_up_losses, ray: Any = NO_RAY) -> Result:
        def tuner(options: Options, resources: Resources, searcher: StudySearcher, *_: Any) -> Any:
            return FakeRay(searcher, losses)

        monkeypatch.setattr("search.tuner._tuner", tuner)
        monkeypatch.setattr("search.driver._ray", lambda *_: ray)
        return CliRunner().invoke(app, [str(flag) for flag in flags], env={"COLUMNS": "250"})

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def data_in_bucket(s3_server: S3Server, data_folder: Path, other_data_folder: Path) -> tuple[str, str]:
    """The URIs of the tests' pairs in a bucket, and of a test set."""
    for name, folder in (("pairs", data_folder), ("test", other_data_folder)):
        Mirror(Remote(s3_server.uri(f"bucket/data/{name}")), folder).push(folder)
    return s3_server.uri("bucket/data/pairs"), s3_server.uri("bucket/data/test")
