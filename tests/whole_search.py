"""Whole searches by their command, as a user starts, kills and resumes them; what their run folders must hold."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import psutil
from optuna.trial import TrialState

from results.journal.events import Ended, Event, Reported
from results.journal.journal import read_journal
from results.table import IGNORED, tables_agree

ROOT = Path(__file__).parents[1]
PATIENCE = 300
"""Seconds after which a search that hangs fails its test."""

TRIALS, MAX_EPOCHS = 5, 6
"""The size of the unbroken search that broken ones are compared with; see the fixture `complete`."""

TRIAL = b"ray::ImplicitFunc"
"""How Ray calls a process that holds a trial."""

COMMANDS = {
    "raylet": re.compile(rb"\S+/raylet/raylet\0"),
    "dashboard agent": re.compile(rb"ray::DashboardAgent"),
    "runtime env agent": re.compile(rb"ray::RuntimeEnvAgent"),
}
"""How processes that Ray needs call themselves."""

STATES = {"COMPLETED": TrialState.COMPLETE, "PRUNED": TrialState.PRUNED, "FAILED": TrialState.FAIL}


class Program:
    """A command in a session of its own, so that all its processes can be told from others."""

    def __init__(self, *command: Any, environment: Mapping[str, str]):
        self.process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=os.environ | {"COLUMNS": "250"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait(self) -> tuple[int, str]:
        """Exit code and all that was printed."""
        output, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output

    def wait_for(self, condition: Callable[[], Any], what: str) -> Any:
        """What `condition` gives, once that is true.

        Args:
            condition: asked many times a second.
            what: is waited for, as a failing test says it.
        """
        deadline = time.monotonic() + PATIENCE
        while not (given := condition()):
            assert self.process.poll() is None, f"ended before {what}:\n{self.wait()[1]}"
            assert time.monotonic() < deadline, f"no {what} in {PATIENCE} s"
            time.sleep(0.02)
        return given

    def sleep(self, seconds: float) -> None:
        """Lets the search go on for so long."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)

    def wait_for_events(self, journal: Path, count: int) -> None:
        """Returns once the journal has so many events."""
        self.wait_for(lambda: journal.exists() and len(read_journal(journal)) >= count, f"event {count}")

    def kill(self) -> None:
        """SIGKILL to the program and all that it started, as when a machine loses its power."""
        os.killpg(self.process.pid, signal.SIGKILL)
        assert self.wait()[0] == -signal.SIGKILL
        self.assert_all_gone()

    def kill_one(self, kind: str) -> None:
        """SIGKILL to one of the search's processes, once there is one; returns when the search has begun anew.

        Args:
            kind: a key of `COMMANDS`, or "search": the search itself, which the driver supervises.
        """

        def supervised() -> set[int]:
            return {process for process in self.others() if _parent_of(process) == self.process.pid}

        def found() -> list[int]:
            if kind == "search":
                return list(supervised())
            return [process for process in self.others() if COMMANDS[kind].match(_command_of(process))]

        before = self.wait_for(supervised, "a search")
        (process, *_) = self.wait_for(found, f"a {kind}")
        os.kill(process, signal.SIGKILL)
        self.wait_for(lambda: not before & supervised(), f"end of the search without its {kind}")
        self.wait_for(supervised, "another search")

    def kill_trial(self) -> int:
        """SIGKILL to the process that runs a trial, once there is one; returns its id when it has ended."""
        (process, *_) = self.wait_for(self.trials, "a trial")
        os.kill(process, signal.SIGKILL)
        self.wait_for(lambda: process not in self.others(), "end of the killed process")
        return process

    def trials(self) -> list[int]:
        """Ids of the processes that run a trial at this moment."""
        return [process for process in self.others() if _command_of(process).startswith(TRIAL)]

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


class Search(Program):
    """`python search/run.py`, or a program of the tests that stands for it."""

    def __init__(self, *arguments: Any, cache: Path, program: str = "search/run.py"):
        super().__init__(sys.executable, program, *arguments, environment={"XDG_CACHE_HOME": str(cache)})


Start = Callable[..., Search]
"""Starts a search with the arguments of its command line."""


def table_of(run: Path) -> pd.DataFrame:
    """The run's table of trials."""
    return pd.read_parquet(run / "results.parquet")


def reports_of(run: Path) -> list[Reported]:
    """The evaluations in the run's journal, in the order in which they came; none before there is one."""
    return [event for event in _events_of(run) if isinstance(event, Reported)]


def ended_in(run: Path) -> set[int]:
    """Numbers of the trials that have ended; none before there is a journal."""
    return {event.trial for event in _events_of(run) if isinstance(event, Ended)}


def assert_same_search(whole: Path, run: Path) -> None:
    """Table, histories and study are those of a search that nothing disturbed, but for when and where things ran."""
    assert tables_agree(table_of(whole), table_of(run)) == []
    histories = [pd.read_parquet(folder / "history.parquet") for folder in (whole, run)]
    kept = [history.drop(columns=[*IGNORED, "reported"], errors="ignore") for history in histories]
    pd.testing.assert_frame_equal(*kept, check_exact=True)
    assert_each_event_once(run)
    assert_study_is_that_of_the_table(run)
    assert (run / "best" / "recipe.yaml").exists()
    metrics = [json.loads((folder / "best" / "metrics.json").read_text()) for folder in (whole, run)]
    assert metrics[0]["val_loss"] == metrics[1]["val_loss"]


def assert_each_event_once(run: Path) -> None:
    """Nothing of the journal is doubled: no trial, no epoch, no end; and every trial has ended."""
    events = read_journal(run / "journal.jsonl")
    kinds = Counter(
        (event.kind, event.trial, event.metrics.epoch if isinstance(event, Reported) else None) for event in events
    )
    assert set(kinds.values()) == {1}
    assert sum(kind == "ended" for kind, _, _ in kinds) == len({event.trial for event in events})


def assert_study_is_that_of_the_table(run: Path) -> None:
    """`optuna.db` has every trial of the table once, in the table's state and with its loss, and no other."""
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{run / 'optuna.db'}")
    table = table_of(run)
    assert sorted(trial.user_attrs["trial"] for trial in study.trials) == list(range(len(table)))
    assert {trial.user_attrs["trial"]: trial.state for trial in study.trials} == {
        number: STATES[status] for number, status in enumerate(table["status"])
    }
    completed = table[table["status"] == "COMPLETED"]
    assert {trial.user_attrs["trial"]: trial.value for trial in study.trials if trial.state == TrialState.COMPLETE} == {
        int(trial): loss for trial, loss in zip(completed["trial_id"], completed["val_loss"], strict=True)
    }


def _events_of(run: Path) -> list[Event]:
    journal = run / "journal.jsonl"
    return read_journal(journal) if journal.exists() else []


def _parent_of(process: int) -> int | None:
    try:
        return psutil.Process(process).ppid()
    except psutil.NoSuchProcess:
        return None


def _command_of(process: int) -> bytes:
    """How a process calls itself."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""
