"""How far another seed moves what trials are compared by: what `--patience-epochs` takes for noise.

    python benchmarks/seed_noise.py --log FILE [--data my_pairs/] [--seeds 5 --epochs 24]

The recipes of the portfolio of `staged` are trained to their end with several seeds, once by each metric, on the sample
or on `--data`. What is told is the standard deviation over seeds of what a search lowers, on the scale of
`search/patience.py`: of losses by their share, of mAP and F1 by their difference; the median over recipes, and each of
them with its median of the loss, or of what is missing to 1. `--log` keeps every training: the same command goes on.
"""

import argparse
import itertools
import os
import tempfile
from pathlib import Path
from statistics import median, stdev

os.environ.setdefault("OMP_NUM_THREADS", "1")

import transformers
from measured import Log
from optuna.trial import FixedTrial

from search.patience import SCALES
from search.study import Budget, fit_recipe
from spaces.budget import default_grace
from spaces.staged import portfolio, staged
from trainable.data.source import read_source
from trainable.history import best_row
from trainable.metric import METRICS
from trainable.reuse.config import ReuseConfig
from trainable.sample import CHECKPOINT
from trainable.sample.data_set import SAMPLE, located
from trainable.training.staged_trainer import train_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--log", type=Path, required=True, help="file that keeps what was trained")
    parser.add_argument("--data", default=SAMPLE, help="folder or data.yaml; the sample by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=24)
    arguments = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    log = Log(arguments.log)
    pairs = read_source(located(arguments.data), print)
    epochs = arguments.epochs
    recipes = [staged(FixedTrial(drawn), epochs) for drawn in portfolio(epochs)]  # type: ignore[arg-type]

    def reached(number: int, metric: str, seed: int) -> float:
        """What remains of a recipe's loss, or of its distance to 1, at its best epoch."""
        key = f"{Path(arguments.data).name} {number} {metric} {seed} {epochs}"
        if key not in log:
            given = {"images": len(pairs.train), "seed": seed, "micro_batch": "16", "metric": metric}
            recipe = fit_recipe(recipes[number], Budget(epochs, default_grace(epochs), **given))
            with tempfile.TemporaryDirectory() as folder:
                trained = train_recipe(
                    *(recipe, pairs, CHECKPOINT, Path(folder), lambda row: None), reuse=ReuseConfig(10**9)
                )
                log[key] = best_row(trained.history).objective
        return float(log[key])

    found = {metric: [[0.0] * arguments.seeds for _ in recipes] for metric in METRICS}
    # Seed by seed, so that what else the machine does, and a run that is broken off, meet all metrics alike.
    for seed, number, metric in itertools.product(range(arguments.seeds), range(len(recipes)), METRICS):
        found[metric][number][seed] = reached(number, metric, seed)
    for metric, of_recipes in found.items():
        scale = SCALES[metric]
        moved = [stdev(map(scale.place, seeds)) for seeds in of_recipes]
        each = [f"{scale.told(one)} at {median(seeds):.3f}" for one, seeds in zip(moved, of_recipes, strict=True)]
        print(f"{metric}: another seed moves it by {scale.told(median(moved))} ({', '.join(each)})")


if __name__ == "__main__":
    main()
