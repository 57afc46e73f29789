"""What a recipe of any space would have come to: tables of trained recipes, and a model of what lies between them.

A table (`recipe_table.py`) knows some hundred recipes; a search draws others. What a recipe's `val_loss` is after an
epoch is therefore predicted, from what learning depends on: how far each part has been moved by then (the sum of its
learning rates over its updates), where in its schedule the stage stands, and the recipe's settings. Gradient-boosted
trees learn the logarithm of the loss from the epochs of all tables at once, each brought to mean 0 and deviation 1, as
recipes differ more on one data set than on another; which table is one of the features.

The prediction is of the mean. On it comes the noise of training: how the seeds of a repeated recipe that came about as
far differ, over all epochs, picked by the recipe and the seed. So a recipe has one curve with one seed, whoever draws
it.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from recipe_table import MADE_BY, recipe_of
from simulated_searches import Curve
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor

from trainable.recipe import PARTS, Recipe, Stage, updates_per_epoch

MODELS = 3
"""Boosted models whose predictions are averaged; each looks at its own share of the features."""
NOISE_CURVES = 15
"""Nearest ones among which the noise of a recipe is picked: with three seeds, those of five recipes."""
FOLDS = 5
_SMALLEST = 1e-8
"""Learning rate that stands for none, so that it has a logarithm."""


@dataclass(frozen=True)
class Table:
    """Recipes that were trained to the end; losses and seconds are logarithms."""

    name: str
    images: int
    """Pairs that they were trained on."""
    recipes: tuple[Recipe, ...]
    """The first is the reference."""
    random: np.ndarray
    """[recipes] whether a recipe was drawn at random."""
    losses: np.ndarray
    """[recipes, epochs] `val_loss`, means over the seeds."""
    seconds: np.ndarray
    """[recipes, epochs] how long each epoch took, with the first seed."""
    noise: np.ndarray
    """[curves, epochs] what training with another seed adds to the losses."""
    noise_best: np.ndarray
    """[curves] best mean loss of the recipe whose noise it is."""

    @property
    def epochs(self) -> int:
        """Of every recipe."""
        return int(self.losses.shape[1])


class Surrogate:
    """Curves of any recipe, on the data sets of some tables.

    Args:
        tables: what is known.
        noisy: add the noise of training.
    """

    def __init__(self, tables: Sequence[Table], noisy: bool = True):
        self.tables = {table.name: table for table in tables}
        self.noisy = noisy
        self._losses = _Boosted(tables, [table.losses for table in tables], MODELS)
        self._seconds = _Boosted(tables, [table.seconds for table in tables], 1)
        self._means: dict[tuple[str, Recipe], tuple[np.ndarray, np.ndarray]] = {}

    def curve(self, name: str, recipe: Recipe, seed: int) -> Curve:
        """The curve of a recipe on the data set of a table, when it is trained with this seed."""
        table = self.tables[name]
        recipe = dataclasses.replace(recipe, seed=0)
        if (name, recipe) not in self._means:
            predicted = self._losses.predict(table, [recipe])[0], self._seconds.predict(table, [recipe])[0]
            self._means[name, recipe] = predicted
        losses, seconds = self._means[name, recipe]
        if self.noisy:
            losses = losses + self._noise(table, recipe, seed, losses.min())[: len(losses)]
        return Curve(np.exp(losses), np.exp(seconds))

    def best_losses(self, name: str, recipes: Sequence[Recipe]) -> np.ndarray:
        """[recipes] the logarithm of the lowest loss that is expected of each on the data set of a table."""
        parts = np.array_split(np.arange(len(recipes)), math.ceil(len(recipes) / 250))
        curves = [self._losses.predict(self.tables[name], [recipes[index] for index in part]) for part in parts]
        return np.asarray(np.concatenate(curves).min(axis=1))

    def _noise(self, table: Table, recipe: Recipe, seed: int, best: float) -> np.ndarray:
        """The noise of a recipe that is about as good; of any table where this one has none."""
        noisy = [table] if len(table.noise) else [each for each in self.tables.values() if len(each.noise)]
        if not noisy:
            return np.zeros(table.epochs)
        # By how many of its table's recipes are better, so that tables can be told from one another.
        ranks = np.concatenate([_share_below(each, each.noise_best) for each in noisy])
        nearest = np.argsort(abs(ranks - _share_below(table, np.array([best]))), kind="stable")[:NOISE_CURVES]
        picked = int.from_bytes(hashlib.sha256(f"{recipe.to_yaml()} {seed}".encode()).digest()[:4]) % len(nearest)
        return np.asarray(np.concatenate([each.noise for each in noisy])[nearest[picked]])


def _share_below(table: Table, losses: np.ndarray) -> np.ndarray:
    """Of each loss, the share of a table's recipes whose best is below it."""
    return np.asarray(np.mean(table.losses.min(axis=1)[:, None] < losses, axis=0))


class _Boosted:
    """Boosted trees over the epochs of several tables."""

    def __init__(self, tables: Sequence[Table], targets: Sequence[np.ndarray], models: int):
        self._names = [table.name for table in tables]
        self._scales = [(float(target.mean()), float(target.std()) or 1.0) for target in targets]
        rows = np.concatenate([self._rows(table, table.recipes) for table in tables])
        scaled = [(y.ravel() - mean) / deviation for y, (mean, deviation) in zip(targets, self._scales, strict=True)]
        self._models = [_boosted_trees(seed).fit(rows, np.concatenate(scaled)) for seed in range(models)]

    def predict(self, table: Table, recipes: Sequence[Recipe]) -> np.ndarray:
        """[recipes, epochs] what is expected, where all recipes have equally many epochs."""
        rows = self._rows(table, recipes)
        predicted = np.mean([model.predict(rows) for model in self._models], axis=0)
        mean, deviation = self._scales[self._names.index(table.name)]
        return np.asarray(predicted.reshape(len(recipes), -1) * deviation + mean)

    def _rows(self, table: Table, recipes: Sequence[Recipe]) -> np.ndarray:
        rows = np.concatenate([features(recipe, table.images) for recipe in recipes])
        return np.column_stack([rows, np.full(len(rows), self._names.index(table.name))])


def _boosted_trees(seed: int) -> HistGradientBoostingRegressor:
    size: dict[str, Any] = {"max_iter": 250, "max_leaf_nodes": 16, "min_samples_leaf": 10, "max_features": 0.3}
    return HistGradientBoostingRegressor(learning_rate=0.06, l2_regularization=1.0, random_state=seed, **size)


def read_table(path: Path) -> Table:
    """A table of `recipe_table.py`."""
    rows = pq.read_table(path).to_pandas()
    # Few epochs took minutes: those during which the machine was stopped.
    rows["seconds"] = rows["seconds"].clip(1e-3, rows["seconds"].quantile(0.99))
    rows["log_loss"], rows["log_seconds"] = np.log(rows["val_loss"]), np.log(rows["seconds"])
    first = rows[rows["drawn"] != "again"].drop_duplicates(["recipe", "epoch"])
    recipes = first[first["epoch"] == 1]
    order = recipes["recipe"]
    noise, noise_best = _noise_of(rows)
    return Table(
        path.stem,
        json.loads(pq.read_schema(path).metadata[MADE_BY])["data"]["training_pairs"],
        tuple(map(recipe_of, order)),
        (recipes["drawn"] == "random").to_numpy(),
        rows.pivot_table(index="recipe", columns="epoch", values="log_loss").loc[order].to_numpy(),
        first.pivot_table(index="recipe", columns="epoch", values="log_seconds").loc[order].to_numpy(),
        noise,
        noise_best,
    )


def _noise_of(rows: Any) -> tuple[np.ndarray, np.ndarray]:
    """Of each repeated recipe and seed, what its logarithms have over their mean over the seeds, and the best mean.

    With n seeds, such a difference has (n - 1) / n of the variance that is sought; it is stretched by as much.
    """
    curves, best = [np.empty((0, int(rows["epoch"].max())))], []
    for _, repeated in rows.groupby("recipe", sort=False):
        by_seed = repeated.pivot_table(index="seed", columns="epoch", values="log_loss").to_numpy()
        if (seeds := len(by_seed)) > 1:
            mean = by_seed.mean(axis=0)
            curves.append((by_seed - mean) * math.sqrt(seeds / (seeds - 1)))
            best += [mean.min()] * seeds
    return np.concatenate(curves), np.array(best)


def features(recipe: Recipe, images: int) -> np.ndarray:
    """[epochs, features] what learning depends on, at the end of each epoch."""
    count = updates_per_epoch(recipe, images)
    course = []
    for stage in recipe.stages:
        backbone = recipe.backbone_learning_rate_factor
        factors = [(part in stage.trainable) * (backbone if part == "backbone" else 1.0) for part in PARTS]
        rates = learning_rates(stage, stage.epochs * count, recipe.warmup_share).reshape(stage.epochs, count)
        for index, epoch in enumerate(rates):
            updates = [count * (factor > 0) for factor in factors]
            course.append((epoch.sum() * np.array(factors), updates, epoch[-1], (index + 1) / stage.epochs))
    moved, updates_of, last, progress = map(np.array, zip(*course, strict=True))
    per_update = np.log10(moved / count + _SMALLEST)
    return np.column_stack(
        [
            np.arange(1, recipe.epochs + 1),
            np.log10(np.cumsum(moved, axis=0) + 1e-6),
            np.log10(np.cumsum(updates_of, axis=0) + 1),
            per_update,
            np.maximum.accumulate(per_update[:, PARTS.index("decoder")]),
            np.log10(last + _SMALLEST),
            progress,
            np.tile(_settings(recipe), (recipe.epochs, 1)),
        ]
    )


def learning_rates(stage: Stage, updates: int, warmup_share: float) -> np.ndarray:
    """[updates] a linear warm-up, then cosines with hard restarts."""
    warmup = math.ceil(updates * warmup_share)
    index = np.arange(updates)
    cosine = 0.5 + 0.5 * np.cos(np.pi * ((index - warmup) / max(1, updates - warmup) * stage.restart_cycles % 1))
    return np.asarray(stage.learning_rate * np.where(index < warmup, index / max(1, warmup), cosine))


def _settings(recipe: Recipe) -> list[float]:
    """What holds for all epochs."""
    last = recipe.stages[-1]
    main = next((stage for stage in recipe.stages if "decoder" in stage.trainable), last)
    rates = main.learning_rate, last.learning_rate, max(stage.learning_rate for stage in recipe.stages)
    return [
        *map(math.log10, (*rates, max(recipe.weight_decay, 1e-6), recipe.backbone_learning_rate_factor)),
        math.log2(recipe.step_images),
        recipe.warmup_share,
        *(main.restart_cycles, len(recipe.stages), main.epochs, last.epochs),
        sum(stage.epochs for stage in recipe.stages if "decoder" not in stage.trainable),
        *(float(part in last.trainable) for part in ("backbone", "encoder")),
    ]


def validate(tables: Sequence[Table], table: Table) -> dict[str, np.ndarray]:
    """Both ways to say what an unknown recipe comes to, on recipes of a table that are left out in turns.

    Returns:
        By the way's name, [recipes, epochs] what it says.
    """
    others = [each for each in tables if each.name != table.name]
    found = {way: np.zeros_like(table.losses) for way in ("surrogate", "nearest recipe")}
    flat = np.array([features(recipe, table.images)[[3, 7, -1]].ravel() for recipe in table.recipes])
    scaled = (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-9)
    for known, left_out in KFold(FOLDS, shuffle=True, random_state=0).split(scaled):
        part = dataclasses.replace(
            table, recipes=tuple(table.recipes[index] for index in known), losses=table.losses[known]
        )
        model = _Boosted([part, *others], [each.losses for each in (part, *others)], MODELS)
        found["surrogate"][left_out] = model.predict(part, [table.recipes[index] for index in left_out])
        nearest = KNeighborsRegressor(1).fit(scaled[known], table.losses[known])
        found["nearest recipe"][left_out] = nearest.predict(scaled[left_out])
    return found
