"""A loss that is not finite, a space without a recipe: the trial fails alone."""

import math
import re

import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState

from tests.whole_search import assert_study_is_that_of_the_table, table_of
from trainable.recipe import Recipe

SPACE = """
import optuna
from trainable.recipe import PARTS, Recipe, Stage

def sometimes(trial, max_epochs):
    '''Raises for trial 1, overflows in trials 2 and 3, and is no recipe in trial 4.'''
    rate = trial.suggest_float("rate", 1e-6, 1e-5)
    recipe = Recipe((Stage("heads", PARTS[3:], 3, rate),))
    if isinstance(trial.study.sampler, optuna.samplers.RandomSampler):  # only tried
        return recipe
    if trial.number == 1:
        raise ValueError("no rate below this one")
    if trial.number == 2:  # well begun: the backbone, whose rate is out of all bounds, is trained in the end alone
        stages = Stage("most", PARTS[1:], 3, 5e-3), Stage("all", PARTS, 1, 1e-3)
        return Recipe(stages, accumulation_steps=1, backbone_learning_rate_factor=9e18)
    if trial.number == 3:
        return Recipe((Stage("heads", PARTS[3:], 3, 1.0),), weight_decay=9e18)
    return None if trial.number == 4 else recipe
"""


@pytest.fixture(scope="module")
def failing(start, storage, flags, tmp_path_factory):
    """The run folder and the output of a search of six trials, of which four fail."""
    space = tmp_path_factory.mktemp("space") / "mine.py"
    space.write_text(SPACE)
    search = start(*flags, "--name", "failing", "--trials", 6, "--space", f"{space}:sometimes")
    code, output = search.wait()
    assert code == 0, output
    return storage / "failing", output


def test_a_failed_trial_is_a_row_with_its_error_and_the_search_goes_on(failing):
    run, output = failing
    table = table_of(run)
    assert (table["status"] == "FAILED").tolist() == [False, *[True] * 4, False]
    assert table["error"][1].endswith("raised ValueError: no rate below this one")
    assert "sometimes raised" in table["error"][4]
    assert "4 trial(s) failed; the table's column `error` says why" in output
    assert_study_is_that_of_the_table(run)


def test_a_loss_that_is_not_finite_fails_the_trial_there_and_says_stage_update_and_learning_rate(failing):
    run, _ = failing
    table, history = table_of(run), pd.read_parquet(run / "history.parquet")
    assert table["error"][2].startswith("FloatingPointError: stage 'all', update ")
    # How far the first update takes it depends on the weights that the new class head begins with.
    where = re.match(r"FloatingPointError: stage 'heads', update ([12]) of 3, learning rate ", table["error"][3])
    assert where, table["error"][3]
    assert table["epochs"][2] == 3 and history["trial_id"].eq("0002").sum() == 3
    assert history["trial_id"].eq("0003").sum() == int(where[1]) - 1
    assert history["val_loss"].map(math.isfinite).all()
    for number in (2, 3):
        folder = run / "trials" / f"{number:04d}"
        assert "FloatingPointError" in (folder / "error.txt").read_text()
        recipe = Recipe.from_yaml(folder / "recipe.yaml")
        assert table["stages.0.learning_rate"][number] == recipe.stages[0].learning_rate


def test_a_failed_trial_is_not_the_best_however_low_its_loss_was(failing):
    run, _ = failing
    table = table_of(run)
    assert table["val_loss"].idxmin() == 2
    assert Recipe.from_yaml(run / "best" / "recipe.yaml") == Recipe.from_yaml(run / "trials" / "0005" / "recipe.yaml")


def test_the_sampler_is_told_of_the_failure(failing):
    run, _ = failing
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{run / 'optuna.db'}")
    trials = {trial.user_attrs["trial"]: trial for trial in study.trials}
    assert [trials[number].state for number in range(1, 5)] == [TrialState.FAIL] * 4
    assert list(trials[2].intermediate_values) == [1, 2, 3] and trials[2].value is None
