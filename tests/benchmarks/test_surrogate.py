"""What the surrogate learns from, and the tables that it reads."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from optuna.trial import FixedTrial
from transformers import get_cosine_with_hard_restarts_schedule_with_warmup

pytest.importorskip("sklearn")

import pyarrow as pa
import pyarrow.parquet as pq
from portfolio import choose
from recipe_table import MADE_BY, rows_of
from surrogate import Surrogate, Table, features, learning_rates, read_table

from results.journal.journal import TrialRecord
from spaces.registry import load_space
from tests.made_up import made_up_row
from trainable.recipe import PARTS, Recipe, Stage

EPOCHS = 4


def recipe(learning_rate: float, **more: int) -> Recipe:
    return Recipe((Stage("heads", PARTS[3:], 1, 1e-4), Stage("everything", PARTS, EPOCHS - 1, learning_rate)), **more)


def loss(learning_rate: float, epoch: int, seed: int = 0) -> float:
    return float(2 + abs(np.log10(learning_rate) + 4) + 1 / epoch + 0.1 * seed * epoch)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """40 recipes, the best at 1e-4; the second one trained with another seed, too."""
    rates = [float(rate) for rate in np.logspace(-6, -2, 40)]
    trained = [("random", 0, number, rate) for number, rate in enumerate(rates)] + [("again", 1, 1, rates[1])]
    rows = []
    for drawn, seed, number, rate in trained:
        record = TrialRecord(number, {}, recipe(rate, seed=seed), False, 0.0)
        record.history = [made_up_row(epoch, loss(rate, epoch, seed)) for epoch in range(1, EPOCHS + 1)]
        rows += rows_of(record, drawn, seed)
    made_by = {MADE_BY: '{"data": {"training_pairs": 8}}'}
    pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(made_by), tmp_path / "made_up.parquet")
    return read_table(tmp_path / "made_up.parquet")


def test_a_portfolio_has_recipes_of_the_space_that_are_good_by_the_tables_and_unlike_one_another(table, monkeypatch):
    monkeypatch.setattr("portfolio.DRAWS", 60)
    space = load_space("staged")
    recipes = [space.build(FixedTrial(parameters), EPOCHS) for parameters in choose([table], 3)]
    kinds = {(recipe.step_images, len(recipe.stages), recipe.stages[0].trainable) for recipe in recipes}
    assert len(kinds) == 3
    # The table's losses are lowest near a learning rate of 1e-4.
    assert 1e-5 < recipes[0].stages[-1].learning_rate < 1e-3


@pytest.mark.parametrize(("cycles", "warmup_share"), [(1, 0.0), (3, 0.0), (5, 0.1)])
def test_the_learning_rates_are_those_of_trainer(cycles: int, warmup_share: float):
    updates = 40
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    schedule = get_cosine_with_hard_restarts_schedule_with_warmup(optimizer, updates * warmup_share, updates, cycles)
    trained = []
    for _ in range(updates):
        trained.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    stage = Stage("everything", PARTS, 4, 3e-4, cycles)
    assert learning_rates(stage, updates, warmup_share) == pytest.approx(trained)


def test_features_are_finite_and_tell_a_frozen_part_from_one_that_learns():
    rows = features(recipe(1e-3), images=96)
    assert rows.shape[0] == EPOCHS
    assert np.isfinite(rows).all()
    frozen = features(dataclasses.replace(recipe(1e-3), stages=(Stage("heads", PARTS[3:], EPOCHS, 1e-3),)), images=96)
    assert (rows[-1] != frozen[-1]).any()


def test_a_table_holds_each_recipe_once_and_the_noise_of_those_trained_again(table: Table):
    assert len(table.recipes) == 40
    assert table.images == 8
    rate = table.recipes[1].stages[1].learning_rate
    logs = np.log([[loss(rate, epoch, seed) for epoch in range(1, EPOCHS + 1)] for seed in (0, 1)])
    assert table.losses[1] == pytest.approx(logs.mean(axis=0))
    assert table.noise == pytest.approx((logs - logs.mean(axis=0)) * 2**0.5)


def test_a_recipe_between_those_of_the_table_is_ranked_where_it_belongs(table: Table):
    surrogate = Surrogate([table], noisy=False)

    def best(rate: float) -> float:
        return float(surrogate.curve(table.name, recipe(rate), seed=0).losses.min())

    assert best(1.1e-4) < best(1.1e-3) < best(7e-3)
    assert best(1.1e-4) < best(1.1e-5)


def test_a_recipe_has_one_curve_a_seed(table: Table):
    surrogate = Surrogate([table])
    curves = [surrogate.curve(table.name, recipe(1e-4), seed).losses for seed in (0, 0, *range(1, 9))]
    assert (curves[0] == curves[1]).all()
    assert any((curves[0] != other).any() for other in curves[2:])
