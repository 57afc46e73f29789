"""Switches off each thing that a search does once or cheaply, alone, and times what that costs.

    python benchmarks/ablation.py [--space staged --trials 8 --max-epochs 12 --rounds 3 --data my_pairs/]

The first table is of whole searches by `search/run.py`, one trial at a time on one core: with everything on, and with
one flag each that switches something off. What is timed is the search itself, from the first trial asked for to the
end of the last, and beside it what is before and after; the cache folder is empty before each but for the sample data
set. They take turns; figures are medians of the rounds. The last column is by how much the best `val_loss` of a trial
moved at most: not at all, or by rounding where the recipe's batch goes through the model at a time.

The second is of single choices that no flag has: threads (two processes that train side by side, each with one thread
or with as many as there are cores) and how a step is computed (CPU time of forward and backward passes and update of a
step of 32 images in which everything trains).
"""

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import transformers

from results.journal.journal import read_journal, trial_records
from trainable.data.pairs import read_pairs
from trainable.data.trial_data import TrialData
from trainable.detector.loading import load_processor
from trainable.detector.loss import criterion_of, forward, loss_normalisers, scaled_loss
from trainable.detector.parts import freeze_all_but, set_modes
from trainable.precision import autocast
from trainable.recipe import PARTS
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.sample.data_set import sample_data_set
from trainable.training.stage_trainer import micro_batches
from trainable.training.weights import trial_model

PROJECT = Path(__file__).resolve().parent.parent
SEARCHES = {
    "everything on": (),
    "a process for every trial": ("--no-reuse",),
    "images decoded each time": ("--no-cache-pictures",),
    "frozen layers run each time": ("--no-cache-layers",),
    "a checkpoint after every epoch": ("--checkpoint-every", "0s"),
    "a recipe's batch at a time": ("--micro-batch", "recipe"),
    "all of these": ("--no-reuse", "--no-cache", "--checkpoint-every", "0s", "--micro-batch", "recipe"),
}
STEPS, IMAGES = 3, 32
"""Optimizer steps that are timed at once, and the images of each."""


def main() -> None:
    arguments = _arguments()
    compare_searches(arguments)
    compare_threads(arguments.rounds)
    compare_steps(arguments.rounds)


def compare_searches(arguments: argparse.Namespace) -> None:
    """Times every search of `SEARCHES` in turns and prints what each switch is worth."""
    seconds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in SEARCHES}
    losses: dict[str, list[float]] = {}
    for index in range(arguments.rounds):
        for name in list(SEARCHES)[:: 1 if index % 2 == 0 else -1]:
            taken, losses[name] = search(arguments, SEARCHES[name])
            seconds[name].append(taken)
            print(f"round {index + 1}: {name}: {taken[1]:.1f} s", flush=True)
    medians = {name: tuple(map(median, zip(*taken, strict=True))) for name, taken in seconds.items()}
    everything = medians["everything on"][1]
    print(f"\n{'switched off':<34}{'seconds':>9}{'ratio':>8}{'before':>9}{'after':>8}{'loss moved by':>16}")
    for name, (before, trials, after) in medians.items():
        moved = np.max(np.abs(np.divide(losses[name], losses["everything on"]) - 1))
        print(f"{name:<34}{trials:>9.1f}{trials / everything:>7.2f}x{before:>9.1f}{after:>8.1f}{moved:>16.1e}")


def search(arguments: argparse.Namespace, flags: tuple[str, ...]) -> tuple[tuple[float, float, float], list[float]]:
    """Seconds of a search before its trials, of these, and after them, and the best loss of each."""
    with tempfile.TemporaryDirectory() as scratch:
        cache, sample = Path(scratch, "cache"), sample_data_set()
        shutil.copytree(sample, cache / "moved-object-search" / sample.name)
        command = [
            *(PROJECT / "search/run.py", "--space", arguments.space, "--trials", arguments.trials),
            *("--max-epochs", arguments.max_epochs, "--max-concurrent", 1, "--cpus-per-trial", 1),
            *("--sampler", "random", "--storage", scratch, "--name", "run", "--overlays", 0, *flags),
            *(("--data", arguments.data.resolve()) if arguments.data else ()),
        ]
        environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
        started = time.time()
        done = subprocess.run(
            [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, check=False
        )
        ended = time.time()
        if done.returncode:
            raise SystemExit(f"the search ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
        events = read_journal(Path(scratch, "run", "journal.jsonl"))
        first, last = events[0].time, events[-1].time
        losses = [record.objective for record in trial_records(events) if record.best]
        return (first - started, last - first, ended - last), losses


def compare_threads(rounds: int) -> None:
    """Times two processes side by side with one thread each, and with all cores each."""
    cores = os.cpu_count() or 1
    seconds: dict[int, list[float]] = {1: [], cores: []}
    for index in range(rounds):
        for threads in list(seconds)[:: 1 if index % 2 == 0 else -1]:
            seconds[threads].append(_side_by_side(threads))
    own, all_of_them = median(seconds[1]), median(seconds[cores])
    print(f"\ntwo trials at once on {cores} cores, {STEPS} steps each: {own:.2f} s with one thread each, ", end="")
    print(f"{all_of_them:.2f} s with {cores} each: {all_of_them / own:.2f}x")


def _side_by_side(threads: int) -> float:
    context = multiprocessing.get_context("spawn")
    ready, go = context.Barrier(3), context.Event()
    workers = [context.Process(target=_train, args=(threads, ready, go)) for _ in range(2)]
    for worker in workers:
        worker.start()
    ready.wait()
    started = time.perf_counter()
    go.set()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started


def _train(threads: int, ready: Any, go: Any) -> None:
    torch.set_num_threads(threads)
    step = Step()
    step.run(1)
    ready.wait()
    go.wait()
    step.run(STEPS)


def compare_steps(rounds: int) -> None:
    """Times a step computed in several ways and prints each against what trials do."""
    torch.set_num_threads(1)
    ways: dict[str, Callable[[], Step]] = {
        "as trials do, 16 images at a time": Step,
        **{f"{images} at a time": partial(Step, at_a_time=images) for images in (1, 2, 4, 8, 32)},
        "images with the channels first": lambda: Step(channels_last=False),
        "bfloat16": lambda: Step(dtype=torch.bfloat16),
        "attention written out (eager)": lambda: Step(attention="eager"),
        "AdamW without fusion": lambda: Step(fused=False),
    }
    steps = {name: make() for name, make in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(2 * rounds + 1):
        for name in list(steps)[:: 1 if index % 2 == 0 else -1]:
            seconds[name].append(steps[name].run(STEPS) / STEPS)
    usual = median(seconds["as trials do, 16 images at a time"])
    print(f"\n{f'a step of {IMAGES} images':<34}{'ms CPU an image':>16}{'ratio':>8}")
    for name, taken in seconds.items():
        print(f"{name:<34}{1e3 * median(taken) / IMAGES:>16.1f}{median(taken) / usual:>7.2f}x")


class Step:
    """Forward and backward passes and update of the embedded model on the sample data set, everything training."""

    def __init__(
        self,
        dtype: torch.dtype = torch.float32,
        channels_last: bool = True,
        attention: str = "sdpa",
        fused: bool = True,
        at_a_time: int = 16,
    ):
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        pairs, checkpoint = read_pairs(sample_data_set(), subset=IMAGES), checkpoint_of(EMBEDDED)
        self.dtype = dtype
        self.model = trial_model(checkpoint, pairs.names, 0)
        # The backbone has no attention to speak of.
        self.model.set_attn_implementation({"": attention, "backbone_config": "eager"})
        freeze_all_but(self.model, PARTS)
        set_modes(self.model, PARTS)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=fused)
        data = TrialData.of(pairs, load_processor(checkpoint))
        order = torch.channels_last if channels_last else torch.contiguous_format
        self.images = data.collator([data.train[index] for index in range(IMAGES)])
        self.images["pixel_values"] = self.images["pixel_values"].contiguous(memory_format=order)
        self.at_a_time = at_a_time

    def run(self, steps: int) -> float:
        """CPU seconds of so many steps."""
        started = time.process_time()
        whole = loss_normalisers(self.images["labels"], criterion_of(self.model.config))
        for _ in range(steps):
            for part in micro_batches(self.images, self.at_a_time):
                with autocast(torch.device("cpu"), self.dtype):
                    result = forward(self.model, part)
                scaled_loss(result.terms, whole, criterion_of(self.model.config)).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return time.process_time() - started


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--space", default="staged")
    parser.add_argument("--data", type=Path, help="folder or data.yaml; the sample by default")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--max-epochs", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()
