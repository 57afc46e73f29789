"""Times a search against Hugging Face's `Trainer.hyperparameter_search(backend="ray")` on the same recipes.

    python benchmarks/vs_hf_ray.py [--space staged --size 16x24 --peer shipped --rounds 2 --data my_pairs/ --log FILE]

Both sides try the same recipes in the same order, the reference first and the others drawn at random from the space,
from the same weights on the same pairs, with rungs at the same epochs, one trial at a time with one thread. One side
is `hf_search.py`, what a careful user of that function would write: images decoded, differenced and processed in
`__getitem__`, stages changed by a callback, layers frozen by `requires_grad`, ASHA. It is timed in three ways:

    shipped   as the libraries ship it: Ray starts a process for each trial
    reuse     with Ray's `reuse_actors`: one process, trial after trial
    batch     so too, and its batch as large as its optimizer step, where that fits into memory: the same gradient from
              one pass; evaluated by 16 images instead of 8

So the first ratio says what a user gains, the last how much of it is not the size of the batch. The other side is
`search/run.py` as a user starts it, with all that it does beside (precision and recall at each epoch, the best model,
tables, a report), its cache folder empty but for the sample data set. The two prune differently: Hugging Face's loss
depends on the batches, and each has its own scheduler.

Hugging Face's side saves no checkpoints, since the search does not need them and would lose time; so it has no best
model in the end. `--hf-saves epoch` has it save one each epoch.

What is timed is each side's whole process, from its start to its exit; they take turns in going first, and each figure
is the median of the rounds.
The time for a trial-epoch is what pruning cannot bend. The time to the other side's final `val_loss` is that until a
loss within 1 % of the other's lowest was reported; both are measured by the evaluation of `search/run.py`, and the
seconds that it takes in the other's processes are taken off.

All of it takes hours. `--space`, `--size`, `--peer` and `--rounds` choose a part of it, and with `--log` a file keeps
every search that was timed, so that it is not run again: what was begun goes on, and parts come together in one table.
Delete the file where the code has changed. `taskset -c 1 python benchmarks/vs_hf_ray.py` keeps both sides on one core.
"""

import argparse
import dataclasses
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import transformers
from huggingface_hub.constants import HF_HOME
from listed import TASK_VARIABLE
from timed_search import REPORTED, Moment, TimedSearch, medians, without_judging

from results.journal.events import Event, Reported
from results.journal.journal import read_journal, trial_records
from search.study import Budget, fit_recipe
from spaces.budget import default_grace
from spaces.registry import load_space
from trainable.compute import memory_share
from trainable.data.dataset import padded_size
from trainable.data.pair import Pair
from trainable.data.pairs import PairData, read_pairs
from trainable.detector.loading import load_model, load_processor, model_config
from trainable.detector.memory import training_memory
from trainable.recipe import Recipe, reference
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.sample.data_set import sample_data_set

PROJECT = Path(__file__).resolve().parent.parent
OURS = "search/run.py"
PEERS: dict[str, tuple[str, dict[str, Any]]] = {
    "shipped": ("as shipped", {"reuse_actors": None, "whole_steps": False}),
    "reuse": ("reuse", {"reuse_actors": True, "whole_steps": False}),
    "batch": ("reuse, batch = step", {"reuse_actors": True, "whole_steps": True}),
}
"""By the name of each on the command line: what tables call it, and its share of the task."""


def main() -> None:
    arguments = _arguments()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    pairs = read_pairs(arguments.data or sample_data_set())
    log, summary = Log(arguments.log), []
    with tempfile.TemporaryDirectory() as model:
        save_start(checkpoint_of(arguments.model), pairs, Path(model))
        for trials, max_epochs in arguments.size:
            for space in arguments.space:
                task = task_of(arguments, space, trials, max_epochs, pairs, model)
                peers = [peer for peer in arguments.peer if peer != "batch" or _steps_fit(task, pairs)]
                label = f"{space} {_name_of(arguments.data)} {trials}x{max_epochs}"
                summary += compare(task, peers, arguments, label, log)
    print("", *summary, sep="\n")


def compare(
    task: dict[str, Any], peers: Sequence[str], arguments: argparse.Namespace, label: str, log: "Log"
) -> list[str]:
    """Runs the rounds of one space and size, prints where the time went, and gives the lines of the ratios."""
    cores = len(os.sched_getaffinity(0))
    print(f"\n{label} (trials x most epochs), {cores} core(s), one trial at a time", flush=True)
    rounds = []
    for index in range(arguments.rounds):
        taken = {}
        for side in [*peers, OURS][:: 1 if index % 2 == 0 else -1]:
            ours = ["ours", *arguments.our_flags] if side == OURS else ["hf", arguments.hf_saves]
            key = [label, side, index, cores, arguments.grace, arguments.reduction, arguments.seed, arguments.model]
            search = log.get([*key, *ours])
            if search is None:
                search = run_ours(task, arguments) if side == OURS else run_hf(task | PEERS[side][1])
                log.add([*key, *ours], search)
            taken[side] = search
            print(f"round {index + 1}: {side} took {search.seconds:.1f} s for {search.epochs} epochs", flush=True)
        rounds.append(taken)
    rows = {side: medians(_row(taken, side) for taken in rounds) for side in [*peers, OURS]}
    _print_table(rows)
    return _ratio_lines(rows, label)


CLOSE = 1.01
"""A loss that is so many times another is as low: the order of the images alone moves it by more."""
TO_OWN = "seconds to its final val_loss"
TO_OURS = "seconds to the final val_loss of search/run.py"
OURS_TO_IT = "seconds of search/run.py to this final val_loss"


def _row(taken: Mapping[str, TimedSearch], side: str) -> dict[str, float]:
    """What the table says of a side in a round."""
    own, ours = taken[side], taken[OURS]
    return own.row() | {
        TO_OWN: own.seconds_to(CLOSE * own.final_loss),
        TO_OURS: own.seconds_to(CLOSE * ours.final_loss),
        OURS_TO_IT: ours.seconds_to(CLOSE * own.final_loss),
    }


def _print_table(rows: Mapping[str, Mapping[str, float]]) -> None:
    heads = [PEERS[side][0] if side in PEERS else side for side in rows]
    print(f"\n{'medians':<48}" + "".join(f"{head:>21}" for head in heads))
    for name in rows[OURS]:
        digits = 4 if name == "final val_loss" else 2
        values = [f"{round(row[name], digits):g}" if math.isfinite(row[name]) else "never" for row in rows.values()]
        print(f"{name:<48}" + "".join(f"{value:>21}" for value in values))


def _ratio_lines(rows: Mapping[str, Mapping[str, float]], label: str) -> list[str]:
    ours = rows[OURS]
    peers = {PEERS[side][0]: row for side, row in rows.items() if side != OURS}

    def line(what: str, ratio: Any) -> str:
        return f"{what}: " + ", ".join(f"{_times(ratio(row))} ({name})" for name, row in peers.items())

    return [
        line(f"whole wall time, {label}", lambda row: row["seconds in all"] / ours["seconds in all"]),
        line(f"time to our final val_loss, {label}", lambda row: row[TO_OURS] / ours[TO_OWN]),
        line(f"time to their final val_loss, {label}", lambda row: row[TO_OWN] / row[OURS_TO_IT]),
        line(f"ratio {label}", lambda row: row["seconds a trial-epoch"] / ours["seconds a trial-epoch"]),
    ]


def _times(ratio: float) -> str:
    """A ratio as it is shown; infinite where the other side never came so far, zero where we did not."""
    return f"{ratio:.1f}x" if 0 < ratio < math.inf else "they never" if ratio else "we never"


class Log:
    """The searches that were timed, in a file if there is one: a JSON object a line.

    Args:
        path: the file; made by the first search. None keeps nothing.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self._searches: dict[str, dict[str, Any]] = {}
        if path and path.exists():
            for line in map(json.loads, path.read_text().splitlines()):
                self._searches[json.dumps(line["key"])] = line["search"]

    def get(self, key: Sequence[Any]) -> TimedSearch | None:
        """The search of a key, or None where it has not been timed."""
        if plain := self._searches.get(json.dumps(key)):
            return TimedSearch(**plain | {"moments": [Moment(**moment) for moment in plain["moments"]]})
        return None

    def add(self, key: Sequence[Any], search: TimedSearch) -> None:
        """Keeps a search."""
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps({"key": key, "search": dataclasses.asdict(search)}) + "\n")


def save_start(checkpoint: str, pairs: PairData, folder: Path) -> None:
    """Saves the checkpoint with a class head for these pairs, so that both sides start from the same weights."""
    load_model(checkpoint, pairs.names).save_pretrained(folder)
    load_processor(checkpoint).save_pretrained(folder)


def task_of(
    arguments: argparse.Namespace, space: str, trials: int, max_epochs: int, pairs: PairData, model: str
) -> dict[str, Any]:
    """What both sides are to do, as `hf_search.py` reads it."""
    grace = arguments.grace or default_grace(max_epochs)
    budget = Budget(max_epochs, grace, len(pairs.train), arguments.seed)
    return {
        "model": model,
        "names": pairs.names,
        "data": str(arguments.data.resolve()) if arguments.data else None,
        "train": [_plain(pair) for pair in pairs.train],
        "val": [_plain(pair) for pair in pairs.val],
        "recipes": [recipe.to_dict() for recipe in draw_recipes(space, budget, trials)],
        "max_epochs": max_epochs,
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


def _steps_fit(task: Mapping[str, Any], pairs: PairData) -> bool:
    """Whether the largest optimizer step goes through the model at once; says so where it does not."""
    padded = padded_size((*pairs.train, *pairs.val), load_processor(task["model"]))
    images = max(Recipe.from_dict(recipe).step_images for recipe in task["recipes"])
    takes, room = training_memory(model_config(task["model"]), padded).of(images), memory_share(0, 1)
    if takes > room:
        print(f"batch left out: {images} images at once take {takes / 1e9:.1f} GB of {room / 1e9:.1f}")
    return takes <= room


def run_hf(task: Mapping[str, Any]) -> TimedSearch:
    """A search by `hf_search.py`, without the time that judging its models took."""
    with tempfile.TemporaryDirectory() as scratch:
        task_file = Path(scratch, "task.json")
        task_file.write_text(json.dumps(task))
        # With warm workers, a trial that ends slowly is waited for, and is no error.
        environment = {"TUNE_FUNCTION_THREAD_TIMEOUT_S": "600"}
        started, seconds = _timed([PROJECT / "benchmarks/hf_search.py", task_file], Path(scratch), environment)
        lines = map(json.loads, Path(scratch, "events.jsonl").read_text().splitlines())
        return without_judging(started, seconds, lines)


def run_ours(task: Mapping[str, Any], arguments: argparse.Namespace) -> TimedSearch:
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
            *(PROJECT / "search/run.py", "--space", f"{PROJECT / 'benchmarks/listed.py'}:listed"),
            *("--trials", len(task["recipes"]), "--max-epochs", task["max_epochs"], "--grace", task["grace"]),
            *("--reduction", task["reduction"], "--max-concurrent", 1, "--cpus-per-trial", 1, "--gpus-per-trial", 0),
            *("--model", task["model"], "--storage", scratch, "--name", "ours", "--seed", arguments.seed),
            *(("--data", task["data"]) if task["data"] else ()),
            *arguments.our_flags,
        ]
        environment = {"XDG_CACHE_HOME": str(cache), TASK_VARIABLE: str(task_file)}
        started, seconds = _timed(command, Path(scratch), environment)
        events = read_journal(Path(scratch, "ours", "journal.jsonl"))
        for record, recipe in zip(trial_records(events), task["recipes"], strict=False):
            if record.status == "FAILED" or record.recipe is None or as_listed(record.recipe) != recipe:
                raise SystemExit(f"{OURS}: trial {record.number} is {record.status} ({record.error}): {record.recipe}")
        return TimedSearch(started, seconds, [moment_of(event) for event in events])


def as_listed(recipe: Recipe) -> dict[str, Any]:
    """A recipe of our side as the list has it: without the machine's choice of how many images go through at a time."""
    return dataclasses.replace(recipe, micro_batch=None).to_dict()


def moment_of(event: Event) -> Moment:
    """What a timed search keeps of an event of the journal."""
    if isinstance(event, Reported):
        return Moment(REPORTED, event.trial, event.time, event.metrics.epoch, event.metrics.val_loss)
    return Moment(event.kind, event.trial, event.time)


def _timed(command: Sequence[Any], scratch: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """When a Python program was started and the seconds until its exit; raises SystemExit where it fails."""
    # On one thread, nothing sent home, and the models of the hub where they are whatever the cache folder. Ray has its
    # workers give way to all else on the machine: here to what neither side should wait for.
    settings = {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HOME": HF_HOME,
        "RAY_worker_niceness": "0",
    }
    log = scratch / "output.txt"
    with log.open("w") as output:
        started = time.time()
        finished = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=scratch,
            env={**os.environ, **settings, **environment},
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


def _size(text: str) -> tuple[int, int]:
    """Trials and most epochs, as `16x24`."""
    trials, max_epochs = map(int, text.split("x"))
    return trials, max_epochs


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", nargs="+", default=["freeze", "staged"], help="names of spaces")
    parser.add_argument(
        "--size",
        nargs="+",
        type=_size,
        default=[(8, 12), (16, 24)],
        help="trials x most epochs of one, such as 16x24, the default search's",
    )
    parser.add_argument("--peer", nargs="+", choices=PEERS, default=list(PEERS), help="how the other side is run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log", type=Path, help="file that keeps the searches that were timed; they are not run again")
    parser.add_argument("--data", type=Path, help="folder or data.yaml; the sample by default")
    parser.add_argument("--model", default=EMBEDDED, help="checkpoint folder or hub name; the embedded one by default")
    parser.add_argument("--grace", type=int, help="epochs before a trial may be pruned; a sixth of the most epochs")
    parser.add_argument("--reduction", type=float, default=3, help="one trial in so many goes on past a rung")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hf-saves", choices=("no", "epoch"), default="no", help="when its Trainer saves checkpoints")
    parser.add_argument(
        "--our-flags", type=shlex.split, default=[], help="more flags of search/run.py: '--micro-batch recipe'"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
