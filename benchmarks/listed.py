"""A space that hands out the recipes of a list: `vs_hf_ray.py` gives both sides the same ones."""

import json
import os
from pathlib import Path

import optuna

from trainable.recipe import Recipe

TASK_VARIABLE = "BENCHMARK_TASK"
"""Environment variable that names the JSON file whose `recipes` these are."""


def listed(trial: optuna.Trial, max_epochs: int) -> Recipe:
    """The recipes of a list, in its order."""
    recipes = json.loads(Path(os.environ[TASK_VARIABLE]).read_text())["recipes"]
    return Recipe.from_dict(recipes[trial.number % len(recipes)])
