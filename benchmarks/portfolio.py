"""Chooses recipes that are good on several data sets at once: `spaces/staged.py` has them tried first.

    python benchmarks/portfolio.py [--without sample]

Of many recipes that the space draws, those are taken whose best `val_loss` is lowest on the average of the tables, by
the surrogate of these tables alone, each brought to mean 0 and deviation 1. They are of different kinds: no two open
the same parts first in as many stages and step on as many images. `search_quality.py` judges a search on a table with
the recipes that are chosen without it.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from simulated_searches import Setting
from surrogate import Surrogate, Table, read_table

from search.study import fit_recipe
from spaces.registry import load_space
from trainable.recipe import Recipe

SIZE, DRAWS, SEED = 4, 1500, 77


def choose(tables: Sequence[Table], size: int = SIZE, space: str = "staged") -> list[dict[str, Any]]:
    """The parameters of so many recipes, the best first.

    Args:
        tables: on whose data sets they are to be good.
        size: how many.
        space: what they are drawn from.
    """
    surrogate, drawn = Surrogate(tables, noisy=False), _drawn(space, tables[0].epochs)
    scores = np.mean([_scores(surrogate, table, [recipe for _, recipe in drawn]) for table in tables], axis=0)
    chosen: dict[Any, dict[str, Any]] = {}
    for index in np.argsort(scores, kind="stable"):
        parameters, recipe = drawn[index]
        kind = recipe.step_images, min(len(recipe.stages), 2), recipe.stages[0].trainable
        chosen.setdefault(kind, parameters)
        if len(chosen) == size:
            break
    return list(chosen.values())


def _drawn(space: str, max_epochs: int) -> list[tuple[dict[str, Any], Recipe]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    build, study = load_space(space).build, optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=SEED))
    drawn = []
    for _ in range(DRAWS):
        trial = study.ask()
        recipe = build(trial, max_epochs)
        drawn.append((dict(trial.params), recipe))
    return drawn


def _scores(surrogate: Surrogate, table: Table, recipes: Sequence[Recipe]) -> np.ndarray:
    """[recipes] the best expected loss of each, as a search on the data set of a table would train it."""
    budget = Setting(table.images, trials=0, seed=0).budget
    best = surrogate.best_losses(table.name, [dataclasses.replace(fit_recipe(r, budget), seed=0) for r in recipes])
    return np.asarray((best - best.mean()) / best.std())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without", help="the name of a table that is left out")
    parser.add_argument("--size", type=int, default=SIZE)
    arguments = parser.parse_args()
    paths = sorted(Path(__file__).with_name("tables").glob("*.parquet"))
    tables = [read_table(path) for path in paths if path.stem != arguments.without]
    for parameters in choose(tables, arguments.size):
        print(json.dumps(parameters))


if __name__ == "__main__":
    main()
