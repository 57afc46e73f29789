"""Whole searches by their command, and searches as Ray drives them with one worker, their trials made up."""

import hashlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from ray.tune.schedulers import TrialScheduler

from results.journal import Journal, read_journal
from search.scheduler import FairASHA
from search.searcher import StudySearcher
from search.study import Budget, SearchStudy
from spaces.registry import Space, load_space

ROOT = Path(__file__).parents[2]
PATIENCE = 300
"""Seconds after which a search that hangs fails its test."""

Losses = Callable[[dict[str, Any], int], float | str]
"""From a recipe and an epoch to its loss, or to a text: why the trial fails there."""


def made_up_losses(recipe: dict[str, Any], epoch: int) -> float:
    """Better the nearer the first rate is to 1e-3 and the longer it trains; no two recipes alike."""
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
    ):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.losses = losses
        self.journal = Journal(folder / "journal.jsonl")
        self.scheduler = FairASHA(grace=2, max_epochs=max_epochs, reduction=2)
        self.study = SearchStudy(
            load_space(space) if isinstance(space, str) else space,
            budget or Budget(max_epochs, grace=2, pictures=1000, seed=7),
            self.journal,
            sampler,
            self.scheduler.replay,
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


class Search:
    """`python search/run.py` in a session of its own, so that all its processes can be told from others."""

    def __init__(self, *arguments: Any, cache: Path):
        environment = os.environ | {"COLUMNS": "250", "XDG_CACHE_HOME": str(cache)}
        self.process = subprocess.Popen(
            [sys.executable, "search/run.py", *map(str, arguments)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait(self) -> tuple[int, str]:
        """Exit code and all that was printed."""
        output, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output

    def wait_for_events(self, journal: Path, count: int) -> None:
        """Returns once the journal has so many events."""
        deadline = time.monotonic() + PATIENCE
        while not journal.exists() or len(read_journal(journal)) < count:
            assert self.process.poll() is None, f"ended before event {count}:\n{self.wait()[1]}"
            assert time.monotonic() < deadline, f"no event {count} in {PATIENCE} s"
            time.sleep(0.02)

    def others(self) -> list[int]:
        """Ids of the living processes of the session, the driver left out."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(session) == self.process.pid != int(stat.parent.name) and state != "Z":
                found.append(int(stat.parent.name))
        return found

    def assert_all_gone(self) -> None:
        """Ray's processes end by themselves, soon after the driver has."""
        deadline = time.monotonic() + 60
        while others := self.others():
            assert time.monotonic() < deadline, f"still there: {others}"
            time.sleep(0.1)

    def clean_up(self) -> None:
        """Ends what a failed test has left."""
        for process in [self.process.pid, *self.others()]:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()


Start = Callable[..., Search]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a search; whatever is left of it in the end is ended."""
    cache, started = tmp_path_factory.mktemp("cache"), []

    def start(*arguments: Any) -> Search:
        started.append(Search(*arguments, cache=cache))
        return started[-1]

    yield start
    for search in started:
        search.clean_up()
