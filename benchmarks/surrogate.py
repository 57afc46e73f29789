"""What a recipe of any space would have come to: tables of trained recipes, and a model of what lies between them.

A table (`recipe_table.py`) knows some hundred recipes; a search draws others. What a recipe's `val_loss` is after an
epoch is therefore predicted, from what learning depends on: how far each part has been moved by then (the sum of its
learning rates over its updates), where in its schedule the stage stands, and the recipe's settings. Gradient-boosted
trees learn the logarithm of the loss from the epochs of all tables at once; which table is one of the features.

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
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from recipe_table import MADE_BY, recipe_of
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor

from trainable.recipe import PARTS, Recipe, Stage, updates_per_epoch

MODELS = 3
"""Boosted models whose predictions are averaged; each looks at its own share of the features."""
NOISE_CURVES = 15
"""Nearest ones among which the noise of a recipe is picked: with three seeds, those of five recipes."""
FOLDS = 5
RUNGS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Epochs at which the tables say how well the order of recipes is known."""
_SMALLEST = 1e-8
"""Learning rate that stands for none, so that it has a logarithm."""


@dataclass(frozen=True)
class Table:
    """Recipes that were trained to the end.

    Attributes:
        name: what it is called.
        images: pairs that they were trained on.
        recipes: the first is the reference.
        random: [recipes] whether a recipe was drawn at random.
        log_losses: [recipes, epochs] logarithms of `val_loss`, means over the seeds.
        log_seconds: [recipes, epochs] logarithms of how long each epoch took, with the first seed.
        noise: [curves, epochs] what training with another seed adds to the logarithms.
        noise_ranks: [curves] how many of the recipes are better than the one whose noise it is, in [0, 1].
        about: how it was made.
    """

    name: str
    images: int
    recipes: tuple[Recipe, ...]
    random: np.ndarray
    log_losses: np.ndarray
    log_seconds: np.ndarray
    noise: np.ndarray
    noise_ranks: np.ndarray
    about: dict[str, Any]

    @property
    def epochs(self) -> int:
        """Of every recipe."""
        return int(self.log_losses.shape[1])

    def rank(self, log_losses: np.ndarray) -> float:
        """The share of the recipes whose best loss is below the best of `log_losses`."""
        return float(np.mean(self.log_losses.min(axis=1) < log_losses.min()))


@dataclass(frozen=True)
class Curve:
    """What a trial comes to, epoch by epoch."""

    losses: np.ndarray
    """[epochs] `val_loss`."""
    seconds: np.ndarray
    """[epochs] how long each takes."""


class Surrogate:
    """Curves of any recipe, on the data sets of some tables.

    Args:
        tables: what is known.
        noisy: add the noise of training.
    """

    def __init__(self, tables: Sequence[Table], noisy: bool = True):
        self.tables = {table.name: table for table in tables}
        self.noisy = noisy
        self._losses = _Boosted(tables, [table.log_losses for table in tables], MODELS)
        self._seconds = _Boosted(tables, [table.log_seconds for table in tables], 1)
        self._means: dict[tuple[str, Recipe], tuple[np.ndarray, np.ndarray]] = {}

    def curve(self, name: str, recipe: Recipe, seed: int) -> Curve:
        """The curve of a recipe on the data set of a table, when it is trained with this seed."""
        table = self.tables[name]
        key = (name, dataclasses.replace(recipe, seed=0))
        if key not in self._means:
            self._means[key] = self._losses.predict(table, [recipe])[0], self._seconds.predict(table, [recipe])[0]
        log_losses, log_seconds = self._means[key]
        if self.noisy:
            log_losses = log_losses + self._noise(table, key[1], seed, table.rank(log_losses))[: len(log_losses)]
        return Curve(np.exp(log_losses), np.exp(log_seconds))

    def _noise(self, table: Table, recipe: Recipe, seed: int, rank: float) -> np.ndarray:
        """One of the nearest curves by rank; those of all tables where this one has none."""
        tables = [table] if len(table.noise) else list(self.tables.values())
        curves = np.concatenate([each.noise for each in tables])
        if not len(curves):
            return np.zeros(table.epochs)
        ranks = np.concatenate([each.noise_ranks for each in tables])
        nearest = np.argsort(abs(ranks - rank), kind="stable")[:NOISE_CURVES]
        digest = hashlib.sha256(f"{recipe} {seed}".encode()).digest()
        return np.asarray(curves[nearest[int.from_bytes(digest[:4]) % len(nearest)]])


class _Boosted:
    """Boosted trees over the epochs of several tables."""

    def __init__(self, tables: Sequence[Table], targets: Sequence[np.ndarray], models: int):
        self._names = [table.name for table in tables]
        self._levels = {table.name: float(target.mean()) for table, target in zip(tables, targets, strict=True)}
        rows = np.concatenate([self._rows(table, table.recipes) for table in tables if table.recipes])
        values = np.concatenate(
            [(target - self._levels[table.name]).ravel() for table, target in zip(tables, targets, strict=True)]
        )
        self._models = [_boosted_trees(seed).fit(rows, values) for seed in range(models)]

    def predict(self, table: Table, recipes: Sequence[Recipe]) -> np.ndarray:
        """[recipes, epochs] what is expected, where all recipes have equally many epochs."""
        rows = self._rows(table, recipes)
        predicted = np.mean([model.predict(rows) for model in self._models], axis=0)
        return np.asarray(predicted.reshape(len(recipes), -1) + self._levels[table.name])

    def _rows(self, table: Table, recipes: Sequence[Recipe]) -> np.ndarray:
        rows = np.concatenate([features(recipe, table.images) for recipe in recipes])
        return np.column_stack([rows, np.full(len(rows), self._names.index(table.name))])


def _boosted_trees(seed: int) -> HistGradientBoostingRegressor:
    return HistGradientBoostingRegressor(
        max_iter=250,
        learning_rate=0.06,
        max_leaf_nodes=16,
        min_samples_leaf=10,
        l2_regularization=1.0,
        max_features=0.3,
        random_state=seed,
    )


def read_table(path: Path) -> Table:
    """A table of `recipe_table.py`."""
    about = json.loads(pq.read_schema(path).metadata[MADE_BY])
    rows = pq.read_table(path).to_pandas()
    rows["log_loss"], rows["log_seconds"] = np.log(rows["val_loss"]), np.log(rows["seconds"].clip(lower=1e-3))
    first = rows[rows["drawn"] != "again"].drop_duplicates(["recipe", "epoch"])
    recipes = first[first["epoch"] == 1]
    order = recipes["recipe"]
    means = rows.pivot_table(index="recipe", columns="epoch", values="log_loss").loc[order]
    seconds = first.pivot_table(index="recipe", columns="epoch", values="log_seconds").loc[order]
    noise, finals = _noise_of(rows)
    return Table(
        path.stem,
        about["data"]["training_pairs"],
        tuple(map(recipe_of, order)),
        (recipes["drawn"] == "random").to_numpy(),
        means.to_numpy(),
        seconds.to_numpy(),
        noise,
        np.array([np.mean(means.to_numpy().min(axis=1) < final) for final in finals]),
        about,
    )


def _noise_of(rows: Any) -> tuple[np.ndarray, list[float]]:
    """Of each repeated recipe and seed, what its logarithms have over their mean over the seeds, and the best mean.

    With n seeds, such a difference has (n - 1) / n of the variance that is sought; it is stretched by as much.

    Returns:
        [curves, epochs], and a figure a curve.
    """
    curves, finals = [], []
    for _, repeated in rows.groupby("recipe", sort=False):
        by_seed = repeated.pivot_table(index="seed", columns="epoch", values="log_loss").to_numpy()
        if (seeds := len(by_seed)) > 1:
            mean = by_seed.mean(axis=0)
            curves.append((by_seed - mean) * math.sqrt(seeds / (seeds - 1)))
            finals += [float(mean.min())] * seeds
    return np.concatenate(curves) if curves else np.empty((0, int(rows["epoch"].max()))), finals


def features(recipe: Recipe, images: int) -> np.ndarray:
    """[epochs, features] what learning depends on, at the end of each epoch."""
    moved, learning_rates, updates, progress = _course(recipe, images)
    epochs = np.arange(1, recipe.epochs + 1)
    settings = np.tile(_settings(recipe), (recipe.epochs, 1))
    per_update = np.log10(moved / updates_per_epoch(recipe, images) + _SMALLEST)
    decoder = PARTS.index("decoder")
    return np.column_stack(
        [
            epochs,
            np.log10(np.cumsum(moved, axis=0) + 1e-6),
            np.log10(np.cumsum(updates, axis=0) + 1),
            per_update,
            np.maximum.accumulate(per_update[:, decoder]),
            np.log10(learning_rates + _SMALLEST),
            progress,
            settings,
        ]
    )


def _course(recipe: Recipe, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """By epoch: [epochs, parts] sums of learning rates and numbers of updates, [epochs] last rate, share of stage."""
    count = updates_per_epoch(recipe, images)
    moved, updates, last, progress = [], [], [], []
    for stage in recipe.stages:
        factors = np.array(
            [
                0 if part not in stage.trainable else recipe.backbone_learning_rate_factor if part == "backbone" else 1
                for part in PARTS
            ]
        )
        rates = _learning_rates(stage, stage.epochs * count, recipe.warmup_share).reshape(stage.epochs, count)
        moved += [epoch.sum() * factors for epoch in rates]
        updates += [count * (factors > 0) for _ in rates]
        last += [epoch[-1] for epoch in rates]
        progress += [(index + 1) / stage.epochs for index in range(stage.epochs)]
    return np.array(moved), np.array(updates), np.array(last), np.array(progress)


def _learning_rates(stage: Stage, updates: int, warmup_share: float) -> np.ndarray:
    """[updates] a linear warm-up, then cosines with hard restarts."""
    warmup = math.ceil(updates * warmup_share)
    index = np.arange(updates)
    cosine = 0.5 + 0.5 * np.cos(np.pi * ((index - warmup) / max(1, updates - warmup) * stage.restart_cycles % 1))
    return np.asarray(stage.learning_rate * np.where(index < warmup, index / max(1, warmup), cosine))


def _settings(recipe: Recipe) -> list[float]:
    """What holds for all epochs."""
    main = next((stage for stage in recipe.stages if "decoder" in stage.trainable), recipe.stages[-1])
    return [
        math.log10(main.learning_rate),
        math.log10(recipe.stages[-1].learning_rate),
        math.log10(max(stage.learning_rate for stage in recipe.stages)),
        math.log2(recipe.step_images),
        math.log10(max(recipe.weight_decay, 1e-6)),
        math.log10(recipe.backbone_learning_rate_factor),
        recipe.warmup_share,
        main.restart_cycles,
        len(recipe.stages),
        main.epochs,
        recipe.stages[-1].epochs,
        sum(stage.epochs for stage in recipe.stages if "decoder" not in stage.trainable),
        *(float(part in recipe.stages[-1].trainable) for part in ("backbone", "encoder")),
    ]


@dataclass(frozen=True)
class Validation:
    """How well curves of left-out recipes are predicted: rows of a table, each against what was measured."""

    measured: np.ndarray
    """[recipes, epochs] logarithms."""
    predicted: np.ndarray

    @cached_property
    def final_rank(self) -> float:
        """Spearman's correlation of the best losses."""
        return rank_correlation(self.measured.min(axis=1), self.predicted.min(axis=1))

    @cached_property
    def final_error(self) -> float:
        """Root mean square error of the logarithms of the best losses."""
        return float(np.sqrt(np.mean((self.measured.min(axis=1) - self.predicted.min(axis=1)) ** 2)))

    def rank_at(self, epoch: int) -> float:
        """Spearman's correlation of the losses after an epoch."""
        return rank_correlation(self.measured[:, epoch - 1], self.predicted[:, epoch - 1])


def validate(tables: Sequence[Table], name: str) -> dict[str, Validation]:
    """Both ways to say what an unknown recipe comes to, on recipes of a table that were left out in turns."""
    table = next(table for table in tables if table.name == name)
    others = [table for table in tables if table.name != name]
    found = {way: np.zeros_like(table.log_losses) for way in ("surrogate", "nearest recipe")}
    flat = np.array([features(recipe, table.images)[[3, 7, -1]].ravel() for recipe in table.recipes])
    scaled = (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 1e-9)
    for known, left_out in KFold(FOLDS, shuffle=True, random_state=0).split(scaled):
        part = dataclasses.replace(
            table,
            recipes=tuple(table.recipes[index] for index in known),
            random=table.random[known],
            log_losses=table.log_losses[known],
            log_seconds=table.log_seconds[known],
        )
        model = _Boosted([part, *others], [each.log_losses for each in (part, *others)], MODELS)
        found["surrogate"][left_out] = model.predict(part, [table.recipes[index] for index in left_out])
        nearest = KNeighborsRegressor(1).fit(scaled[known], table.log_losses[known])
        found["nearest recipe"][left_out] = nearest.predict(scaled[left_out])
    return {way: Validation(table.log_losses, predicted) for way, predicted in found.items()}


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's."""
    return float(spearmanr(first, second).statistic)
