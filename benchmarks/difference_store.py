"""Times epochs of one trial with and without the store of differences.

    python benchmarks/difference_store.py [--data my_pairs/ --epochs 3 --rounds 3]

Whole trials of the same recipe from the embedded checkpoint, on the sample data set, one core: first with the heads
training alone, then everything. What is timed is the CPU seconds of an epoch with its evaluation and checkpoint, not
the first, and not loading the model. The store is filled before, as a search does; what that takes is told. The two
take turns in going first; each figure is the median of the rounds. Both must report the same losses.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers

from trainable.data.image_cache import open_image_cache
from trainable.data.pairs import PairData, read_pairs
from trainable.detector.loading import load_processor
from trainable.recipe import PARTS, Recipe, Stage
from trainable.reuse.config import ReuseConfig
from trainable.sample import EMBEDDED, checkpoint_of
from trainable.sample.data_set import sample_data_set
from trainable.training.staged_trainer import train_recipe

CHECKPOINT = checkpoint_of(EMBEDDED)
CACHE_BYTES = 10**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder or data.yaml; the sample by default")
    parser.add_argument("--epochs", type=int, default=3, help="of a trial, beside the first, which is not timed")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    pairs = read_pairs(arguments.data or sample_data_set())
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        fill_seconds, size = fill(pairs)
        print(f"filling the store: {fill_seconds:.2f} s CPU once for {size / 1e6:.1f} MB")
        for name, parts in (("heads only", ("box_head", "class_head")), ("everything trains", PARTS)):
            seconds: dict[str, list[float]] = {"with": [], "without": []}
            for index in range(arguments.rounds):
                histories = {}
                for contestant in list(seconds)[:: 1 if index % 2 == 0 else -1]:
                    cache_bytes = CACHE_BYTES if contestant == "with" else 0
                    histories[contestant], taken = trial(pairs, parts, arguments.epochs, cache_bytes)
                    seconds[contestant].append(taken)
                assert histories["with"] == histories["without"], "the store changed the numbers"
            with_store, without = median(seconds["with"]), median(seconds["without"])
            print(f"{name}: {without:.2f} s CPU an epoch without, {with_store:.2f} s with the store")
            print(f"ratio epoch without/with store: {without / with_store:.2f}x")


def fill(pairs: PairData) -> tuple[float, int]:
    """CPU seconds of filling the store, and its size in bytes."""
    started = time.process_time()
    store = open_image_cache((*pairs.train, *pairs.val), load_processor(CHECKPOINT), CACHE_BYTES)
    if store is None:
        raise SystemExit("the data set does not fit into the store")
    return time.process_time() - started, store.bytes


def trial(pairs: PairData, parts: tuple[str, ...], epochs: int, cache_bytes: int) -> tuple[list[dict[str, Any]], float]:
    """The history of a trial without its times, and its CPU seconds an epoch after the first."""
    recipe = Recipe((Stage("stage", parts, epochs + 1, 1e-4),), batch_size=4, accumulation_steps=2)
    clock, history = [], []

    def report(row: dict[str, Any]) -> None:
        clock.append(time.process_time())
        history.append({name: value for name, value in row.items() if name != "seconds"})

    with tempfile.TemporaryDirectory() as folder:
        train_recipe(
            recipe, pairs, CHECKPOINT, Path(folder), report, reuse=ReuseConfig(cache_bytes, frozen_layers=False)
        )
    return history, (clock[-1] - clock[0]) / epochs


if __name__ == "__main__":
    main()
