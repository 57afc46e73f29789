"""Times a search against Hugging Face's `Trainer.hyperparameter_search(backend="ray")` on the same recipes.

    python benchmarks/vs_hf_ray.py [--space staged freeze --data my_pairs/ --rounds 3]

Both sides try the same recipes in the same order, the reference first and the others drawn at random from the space,
from the same checkpoint on the same pairs, under ASHA with the same rungs, one trial at a time on one CPU core. One
side is `hf_search.py`, what a careful user of that function would write: images decoded, differenced and processed in
`__getitem__`, stages changed by a callback, layers frozen by `requires_grad`. The other is `search/run.py` as a user
starts it, with all that it does beside (precision and recall at each epoch, the best model, tables, a report), its
cache folder empty but for the sample data set. The two prune differently: Hugging Face's loss depends on the batches.

Hugging Face's side saves no checkpoints, since the search does not need them and would lose time; so it has no best
model in the end. `--hf-saves epoch` has it save one each epoch. Ray is left to decide whether workers are used again,
see the first line of the output.

What is timed is each side's whole process, from its start to its exit; they take turns in going first, and each figure
is the median of the rounds.
The last line is the ratio of the time for a trial-epoch, which pruning cannot bend.
"""

import argparse
import inspect
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from huggingface_hub.constants import HF_HOME
from ray import tune

from results.journal.journal import read_journal, trial_records
from search.study import Budget, fit_recipe
from spaces.budget import default_grace
from spaces.registry import load_space
from trainable.data.pair import Pair
from trainable.data.pairs import PairData, read_pairs
from trainable.recipe import Recipe, reference
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.sample.data_set import sample_data_set

PROJECT = Path(__file__).resolve().parent.parent
TASK_VARIABLE = "BENCHMARK_TASK"
"""Environment variable by which `listed` finds the recipes."""

HF, OURS = "hyperparameter_search", "search/run.py"


def main() -> None:
    arguments = _arguments()
    reuse = inspect.signature(tune.run).parameters["reuse_actors"].default
    print(f"{HF} saves checkpoints: {arguments.hf_saves}; reuse_actors: {reuse}, as Ray has it")
    pairs = read_pairs(arguments.data or sample_data_set())
    data_name = _name_of(arguments.data)
    # The staged line comes last.
    for space in sorted(dict.fromkeys(arguments.space), key=lambda name: name == "staged"):
        task = task_of(arguments, space, pairs)
        print(f"\n{space}, {data_name}: {arguments.trials} trials of at most {arguments.max_epochs} epochs", flush=True)
        compare(task, arguments, f"{space} {data_name}")


def compare(task: Mapping[str, Any], arguments: argparse.Namespace, label: str) -> None:
    """Runs the rounds of one space and prints where the time went and the ratios."""
    searches: dict[str, list[Search]] = {HF: [], OURS: []}
    for index in range(arguments.rounds):
        for side in list(searches)[:: 1 if index % 2 == 0 else -1]:
            search = run_hf(task) if side == HF else run_ours(task, arguments)
            searches[side].append(search)
            print(f"round {index + 1}: {side} took {search.seconds:.1f} s for {search.epochs} epochs", flush=True)
    rows = {side: medians(search.row() for search in taken) for side, taken in searches.items()}
    print(f"\n{'medians':<38}{HF:>24}{OURS:>24}")
    for name in rows[HF]:
        print(f"{name:<38}{round(rows[HF][name], 2):>24g}{round(rows[OURS][name], 2):>24g}")
    ratios = {name: rows[HF][name] / rows[OURS][name] for name in ("seconds in all", "seconds a trial-epoch")}
    print(f"ratio of whole wall time, {label}: {ratios['seconds in all']:.1f}x")
    print(f"ratio {label}: {ratios['seconds a trial-epoch']:.1f}x")


def task_of(arguments: argparse.Namespace, space: str, pairs: PairData) -> dict[str, Any]:
    """What both sides are to do, as `hf_search.py` reads it."""
    grace = arguments.grace or default_grace(arguments.max_epochs)
    budget = Budget(arguments.max_epochs, grace, len(pairs.train), arguments.seed)
    return {
        "model": checkpoint_of(arguments.model),
        "names": pairs.names,
        "train": [_plain(pair) for pair in pairs.train],
        "val": [_plain(pair) for pair in pairs.val],
        "recipes": [recipe.to_dict() for recipe in draw_recipes(space, budget, arguments.trials)],
        "max_epochs": arguments.max_epochs,
        "grace": grace,
        "reduction": arguments.reduction,
        "save_strategy": arguments.hf_saves,
    }


def draw_recipes(space: str, budget: Budget, count: int) -> list[Recipe]:
    """The reference and so many less one random recipes of a space, fitted to the budget as a search does."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=budget.seed))
    build = load_space(space).build
    drawn = [build(study.ask(), budget.max_epochs) for _ in range(count - 1)]
    return [fit_recipe(recipe, budget) for recipe in (reference(budget.max_epochs), *drawn)]


def listed(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """The recipes of a list, in its order.

    The space of our side; the list is that of the task which `TASK_VARIABLE` names.
    """
    recipes = json.loads(Path(os.environ[TASK_VARIABLE]).read_text())["recipes"]
    return Recipe.from_dict(recipes[trial.number % len(recipes)])


@dataclass(frozen=True)
class Search:
    """One search as its clock and its events tell it."""

    started: float
    """Seconds since the epoch, as are the times of the events."""
    seconds: float
    """Seconds from the start of its process to its exit."""
    events: Sequence[tuple[str, int, float]]
    """Kind (`asked`, `reported`, `ended`), trial and time of each."""

    @property
    def epochs(self) -> int:
        """Trial-epochs reported."""
        return len(self._times("reported"))

    def row(self) -> dict[str, float]:
        """What the table says of it; the phases, in seconds, add up to the whole."""
        asked, ended = self._times("asked"), self._times("ended")
        reported = [self._times("reported", trial) for trial in range(len(asked))]
        first_epochs = [times[0] - start for start, times in zip(asked, reported, strict=True)]
        phases = {
            "  until the first trial is asked for": asked[0] - self.started,
            "  the first trial's first epoch": first_epochs[0],
            "  the other trials' first epochs": sum(first_epochs[1:]),
            "  all later epochs": sum(times[-1] - times[0] for times in reported),
            "  after the last trial": self.started + self.seconds - max(ended),
        }
        return {
            "trials": len(asked),
            "trial-epochs": self.epochs,
            "seconds in all": self.seconds,
            **phases,
            "  between trials": self.seconds - sum(phases.values()),
            "seconds a trial-epoch": self.seconds / self.epochs,
            "seconds to a later trial's first epoch": median(first_epochs[1:] or first_epochs),
        }

    def _times(self, event: str, trial: int | None = None) -> list[float]:
        return [time for kind, number, time in self.events if kind == event and trial in (None, number)]


def medians(rows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Row by row the median of several."""
    taken = list(rows)
    return {name: median(row[name] for row in taken) for name in taken[0]}


def run_hf(task: Mapping[str, Any]) -> Search:
    """A search by `hf_search.py`."""
    with tempfile.TemporaryDirectory() as scratch:
        task_file = Path(scratch, "task.json")
        task_file.write_text(json.dumps(task))
        started, seconds = _timed([PROJECT / "benchmarks/hf_search.py", task_file], Path(scratch))
        lines = [json.loads(line) for line in Path(scratch, "events.jsonl").read_text().splitlines()]
        return Search(started, seconds, [(line["event"], line["trial"], line["time"]) for line in lines])


def run_ours(task: Mapping[str, Any], arguments: argparse.Namespace) -> Search:
    """A search by `search/run.py` with an empty cache.

    Raises:
        SystemExit: a trial failed, or was given another recipe than the list's.
    """
    with tempfile.TemporaryDirectory() as scratch:
        task_file = Path(scratch, "task.json")
        task_file.write_text(json.dumps(task))
        cache = Path(scratch, "cache")
        if arguments.data is None:
            sample = sample_data_set()
            shutil.copytree(sample, cache / "moved-object-search" / sample.name)
        command = [
            *(PROJECT / "search/run.py", "--space", f"{Path(__file__).resolve()}:listed"),
            *("--trials", len(task["recipes"]), "--max-epochs", task["max_epochs"], "--grace", task["grace"]),
            *("--reduction", task["reduction"], "--max-concurrent", 1, "--cpus-per-trial", 1, "--gpus-per-trial", 0),
            *("--storage", scratch, "--name", "ours", "--seed", arguments.seed),
            *(("--data", arguments.data.resolve()) if arguments.data else ()),
            *(("--model", task["model"]) if arguments.model != EMBEDDED else ()),
        ]
        environment = {"XDG_CACHE_HOME": str(cache), TASK_VARIABLE: str(task_file)}
        started, seconds = _timed(command, Path(scratch), environment)
        events = read_journal(Path(scratch, "ours", "journal.jsonl"))
        for record in trial_records(events):
            if record.status == "FAILED" or record.recipe != Recipe.from_dict(task["recipes"][record.number]):
                raise SystemExit(f"{OURS}: trial {record.number} is {record.status} ({record.error}): {record.recipe}")
        return Search(started, seconds, [(event.kind, event.trial, event.time) for event in events])


def _timed(command: Sequence[Any], scratch: Path, environment: Mapping[str, str] | None = None) -> tuple[float, float]:
    """When a Python program was started and the seconds until its exit; raises SystemExit where it fails."""
    # On one thread, nothing sent home, and the models of the hub where they are whatever the cache folder.
    settings = {"OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", "HF_HOME": HF_HOME}
    log = scratch / "output.txt"
    with log.open("w") as output:
        started = time.time()
        finished = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=scratch,
            env={**os.environ, **settings, **(environment or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        seconds = time.time() - started
    if finished.returncode:
        raise SystemExit(f"{command[0]} ended with exit code {finished.returncode}:\n{log.read_text()[-4000:]}")
    return started, seconds


def _plain(pair: Pair) -> list[Any]:
    labels = zip(pair.labels.class_ids, pair.labels.boxes_cxcywh_normalised, strict=True)
    return [str(pair.before), str(pair.after), [[class_id, *box] for class_id, box in labels]]


def _name_of(data: Path | None) -> str:
    if data is None:
        return "sample"
    return data.resolve().name if data.is_dir() else data.resolve().parent.name


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", nargs="+", default=["freeze", "staged"], help="names of spaces")
    parser.add_argument("--data", type=Path, help="folder or data.yaml; the sample by default")
    parser.add_argument("--model", default=EMBEDDED, help="checkpoint folder or hub name; the embedded one by default")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--max-epochs", type=int, default=12)
    parser.add_argument("--grace", type=int, help="epochs before a trial may be pruned; a sixth of --max-epochs")
    parser.add_argument("--reduction", type=float, default=3, help="one trial in so many goes on past a rung")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hf-saves", choices=("no", "epoch"), default="no", help="when its Trainer saves checkpoints")
    return parser.parse_args()


if __name__ == "__main__":
    main()
