"""Trial after trial in one process: open files, threads, memory and GPU memory stay as they are."""

import contextlib
import gc
import logging
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from transformers import DetrForObjectDetection, Trainer

import trainable.tune_trainable
from tests.whole_search import Search, table_of
from trainable.recipe import PARTS, Recipe, Stage
from trainable.reuse.config import ReuseConfig
from trainable.tune_trainable import tune_trainable

WARM_UP, TRIALS = 6, 12
MOST_BYTES = 2**17
"""Most bytes that a trial may add to the memory of a process that runs trial after trial. Its model and optimizer take
more."""
MOST_BYTES_OF_DRIVER = 2**19
"""Most bytes that it may add to the driver's, which remembers what every trial was and gave."""

GPUS = float(torch.cuda.is_available())
SOAK_TRIALS, SOAK_WARM_UP = 200, 50
SPACE = """
from trainable.recipe import PARTS, Recipe, Stage

def short(trial, max_epochs):
    rate = trial.suggest_float("rate", 1e-5, 1e-3)
    return Recipe((Stage("heads", PARTS[3:], 1, rate), Stage("decoder", PARTS[2:], 2, rate)))
"""


def resources() -> dict[str, int]:
    """What this process holds that must not grow."""
    gc.collect()
    alive = [type(thing) for thing in gc.get_objects()]
    return {
        "open files": psutil.Process().num_fds(),
        "threads": threading.active_count(),
        "processes": len(psutil.Process().children(recursive=True)),
        "log handlers": sum(len(logging.getLogger(name).handlers) for name in ("", "trainable", "transformers")),
        "models": sum(issubclass(kind, DetrForObjectDetection) for kind in alive),
        "trainers": sum(issubclass(kind, Trainer) for kind in alive),
        "GPU bytes": torch.cuda.memory_allocated() if torch.cuda.is_available() else 0,
    }


@pytest.fixture
def run_trial(monkeypatch, tmp_path, pair_data, checkpoint) -> Callable[[int], str]:
    """Runs a trial of this number as Ray has a process do so, every third one to each end; says to which it came."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    reuse = ReuseConfig(cache_bytes=10**9, checkpoint_seconds=0)

    def run_trial(number: int) -> str:
        ending = ("completed", "stopped", "failed")[number % 3]
        reports = []

        def report(metrics):
            reports.append(metrics)
            if ending == "stopped" and len(reports) == 2:
                raise SystemExit  # as Ray ends a trial that ASHA stopped

        monkeypatch.setattr(trainable.tune_trainable.tune, "report", report)
        beyond_all_bounds = 9e18 if ending == "failed" else 1.0
        recipe = Recipe(
            (Stage("heads", PARTS[3:], 1, 1e-4 * (number + 1)), Stage("all", PARTS, 2, 1e-3)),
            accumulation_steps=1,
            backbone_learning_rate_factor=beyond_all_bounds,
        )
        config = {"number": number, "recipe": recipe, "folder": str(tmp_path / f"{number:04d}")}
        try:
            tune_trainable(config | {"failure": None}, pair_data, str(checkpoint), 1, GPUS, reuse)
        except SystemExit:
            return "stopped"
        return "failed" if "failure" in reports[-1] else "completed"

    return run_trial


def test_trials_of_one_process_leave_nothing_behind(run_trial):
    process = psutil.Process()
    endings = [run_trial(number) for number in range(WARM_UP)]
    before, bytes_before = resources(), process.memory_info().rss
    endings += [run_trial(number) for number in range(WARM_UP, WARM_UP + TRIALS)]
    assert endings == ["completed", "stopped", "failed"] * 6
    assert resources() == before
    assert (process.memory_info().rss - bytes_before) / TRIALS < MOST_BYTES


def held_by(process: psutil.Process) -> tuple[int, int, int]:
    """Bytes, open files and threads of a process."""
    with process.oneshot():
        return process.memory_info().rss, process.num_fds(), process.num_threads()


def watched(search: Search, run: Path) -> list[list[tuple[int, int, int]]]:
    """Driver and worker as they were when each trial had begun."""
    rows: list[list[tuple[int, int, int]]] = []
    while search.process.poll() is None:
        search.sleep(0.05)
        begun = len(list((run / "trials").glob("*/recipe.yaml")))
        if begun > len(rows) and (workers := search.trials()):
            with contextlib.suppress(psutil.NoSuchProcess):  # The search is over.
                rows.append([held_by(psutil.Process(number)) for number in (search.process.pid, workers[0])])
    return rows


@pytest.mark.soak
def test_a_search_of_200_trials_stays_as_it_is(start, flags, storage, tmp_path):
    space = tmp_path / "mine.py"
    space.write_text(SPACE)
    run = storage / "long"
    search = start(*flags, "--space", f"{space}:short", "--trials", SOAK_TRIALS, "--max-epochs", 3, "--name", run.name)
    rows = watched(search, run)
    code, output = search.wait()
    assert code == 0, output
    table = table_of(run)
    assert len(table) == SOAK_TRIALS and table["pid"].nunique() == 1
    for role, most, before, after in zip(
        ("driver", "worker"), (MOST_BYTES_OF_DRIVER, MOST_BYTES), rows[SOAK_WARM_UP], rows[-2], strict=True
    ):
        bytes_a_trial = (after[0] - before[0]) / (len(rows) - 2 - SOAK_WARM_UP)
        assert bytes_a_trial < most, f"{role} grows by {bytes_a_trial:.0f} bytes a trial"
        assert after[1] <= before[1] + 5, f"{role} has {after[1]} files open, and had {before[1]}"
        assert after[2] <= before[2] + 5, f"{role} has {after[2]} threads, and had {before[2]}"
