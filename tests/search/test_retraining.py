"""What is trained again after a search: which recipes, in which order, and never twice."""

import dataclasses

import pytest

from results.journal.journal import Journal
from results.retrained import CONFIRM, FINAL, chosen, confirmed, confirmed_table, of_purpose, winner
from search.options import Options, OptionsError
from search.retraining import Retrainings, stretched
from search.searcher import StudySearcher
from search.study import Budget
from trainable.recipe import reference

OPTIONS = Options("staged", None, trials=6, max_epochs=8, grace=2, model="m", storage="runs", name="n")


@pytest.fixture
def again(fake_ray):
    """Gives the retrainings of a search, on the journal that they have in a folder, and what runs them."""

    def begin(folder, searched, losses, confirm=2, seeds=2, final=None):
        folder.mkdir(exist_ok=True)
        options = dataclasses.replace(OPTIONS, confirm=confirm, confirm_seeds=seeds, final_epochs=final)
        retrainings = Retrainings(Journal(folder / "journal.jsonl"), searched, options)
        return retrainings, fake_ray(StudySearcher(retrainings, folder / "trials"), losses)

    return begin


def by_seed(recipe, epoch):
    """The trial that a search finds best is so with its own seed alone."""
    rate = recipe["stages"][-1]["learning_rate"]
    luck = 0.5 if recipe["seed"] == 7 else 0.0
    return 10 + (rate - luck if rate > 1e-5 else 5) - epoch / 1000


@pytest.fixture
def searched(search):
    """The trials of a search that is over."""
    return list(search("learning_rate").run(trials=6).study.records.values())


def plan(retrainings):
    return [(r.parameters["purpose"], r.parameters["trial"], r.recipe.seed) for r in retrainings.records.values()]


def rates_of(recipe):
    return tuple(stage["learning_rate"] for stage in recipe["stages"])


def best_of(searched, count):
    return [record.number for record in sorted(searched, key=lambda record: record.objective)[:count]]


def test_the_best_recipes_and_the_reference_are_trained_with_other_seeds_to_their_end(again, searched, tmp_path):
    retrainings, ray = again(tmp_path / "again", searched, lambda recipe, epoch: 1.0)
    assert retrainings.left() == 6
    ray.fit()
    first, second = best_of(searched, 2)
    assert plan(retrainings) == [(CONFIRM, trial, seed) for seed in (8, 9) for trial in (first, second, 0)]
    assert {len(record.history) for record in retrainings.records.values()} == {8} and retrainings.left() == 0


def test_the_final_training_waits_for_the_winner_and_is_stretched(again, searched, tmp_path):
    second = best_of(searched, 2)[1]
    its_rates = rates_of(searched[second].recipe.to_dict())

    def losses(recipe, epoch):
        return 1.0 if rates_of(recipe) == its_rates else 2.0

    retrainings, ray = again(tmp_path / "again", searched, losses, final=20)
    assert retrainings.left() == 7
    ray.fit()
    (final,) = of_purpose(retrainings.records.values(), FINAL)
    assert final.parameters == {"purpose": FINAL, "trial": second, "seed": 7} and len(final.history) == 20
    assert winner(searched, list(retrainings.records.values())).number == second


@pytest.mark.parametrize("after", range(7))
def test_broken_off_after_any_training_it_ends_as_if_unbroken(again, searched, tmp_path, after):
    whole, ray = again(tmp_path / "whole", searched, by_seed, final=20)
    ray.fit()
    retrainings, ray = again(tmp_path / "broken", searched, by_seed, final=20)
    for _ in range(after):
        ray.run_trial()
    ray.run_trial(epochs=3)
    retrainings.journal.close()
    retrainings, ray = again(tmp_path / "broken", searched, by_seed, final=20)
    ray.fit()
    assert plan(retrainings) == plan(whole)
    losses = [[record.objective for record in each.records.values()] for each in (retrainings, whole)]
    assert losses[0] == losses[1]


def test_more_seeds_and_more_recipes_train_only_what_is_missing(again, searched, tmp_path):
    retrainings, ray = again(tmp_path / "again", searched, by_seed, confirm=1, seeds=1)
    ray.fit()
    before = plan(retrainings)
    retrainings.journal.close()
    retrainings, ray = again(tmp_path / "again", searched, by_seed, confirm=2, seeds=2)
    ray.fit()
    assert plan(retrainings)[: len(before)] == before
    assert len(set(plan(retrainings))) == len(plan(retrainings)) == 6


def test_a_failed_training_never_wins_and_a_search_without_success_trains_nothing(again, searched, tmp_path):
    first = best_of(searched, 1)[0]
    rates = rates_of(searched[first].recipe.to_dict())

    def losses(recipe, epoch):
        return "NaN" if rates_of(recipe) == rates else 2.0

    retrainings, ray = again(tmp_path / "again", searched, losses)
    ray.fit()
    found = confirmed(searched, list(retrainings.records.values()))
    assert found[0].trial != first and found[-1].mean == float("inf") and found[-1].interval is None
    nothing, _ = again(tmp_path / "nothing", [], by_seed, final=20)
    assert nothing.left() == 0 and nothing.next() is None


def test_the_final_model_is_taken_unless_it_is_worse(again, searched, tmp_path):
    for name, final, is_taken in (("better", 0.1, True), ("worse", 50.0, False)):

        def losses(recipe, epoch, final=final):
            return final if sum(stage["epochs"] for stage in recipe["stages"]) == 20 else 1.0

        retrainings, ray = again(tmp_path / name, searched, losses, final=20)
        ray.fit()
        choice = chosen(searched, list(retrainings.records.values()))
        assert (choice.title == "The best recipe, stretched to 20 epochs") is is_taken
        assert choice.folder.startswith("retrained/trials/") and choice.record.objective == (0.1 if is_taken else 1.0)


def test_without_retrainings_the_best_trial_is_taken(searched):
    choice = chosen(searched, [])
    assert (choice.record.number, choice.folder) == (best_of(searched, 1)[0], f"trials/{choice.record.number:04d}")
    assert chosen([], []) is None


@pytest.mark.parametrize("epochs", [3, 4, 7, 24, 120, 1000])
def test_a_stretched_recipe_keeps_its_shares_and_has_all_epochs(epochs):
    recipe = stretched(reference(24), epochs)
    assert recipe.epochs == epochs and all(stage.epochs >= 1 for stage in recipe.stages)
    for stage, before in zip(recipe.stages, reference(24).stages, strict=True):
        assert abs(stage.epochs / epochs - before.epochs / 24) <= 1.5 / epochs + (epochs < 8)
        assert dataclasses.replace(stage, epochs=before.epochs) == before


def test_more_recipes_than_weights_are_kept_are_refused():
    with pytest.raises(OptionsError, match=r"--confirm: at most --keep \(10\), got 11"):
        dataclasses.replace(OPTIONS, confirm=11)


def test_distances_are_told_from_noise_by_the_same_seeds(again, searched, tmp_path):
    first, second = best_of(searched, 2)
    numbers = {rates_of(searched[number].recipe.to_dict()): number for number in (first, second)}

    def losses(recipe, epoch):
        number = numbers.get(rates_of(recipe))
        noise = {8: 0.3, 9: 0.0, 10: -0.3}[recipe["seed"]]
        return 5.0 if number is None else 1.0 + noise + (0.1 + noise / 100 if number == second else 0.0)

    retrainings, ray = again(tmp_path / "again", searched, losses, seeds=3)
    ray.fit()
    best, other, reference_ = confirmed(searched, list(retrainings.records.values()))
    assert (best.trial, other.trial, reference_.reference) == (first, second, True)
    assert best.interval[0] < other.mean < best.interval[1], "apart they cannot be told from one another"
    assert not other.may_be_noise and not reference_.may_be_noise, "seed by seed they can"


def test_by_another_metric_the_highest_mean_wins_and_intervals_end_where_the_metric_does(search, again, tmp_path):
    budget = Budget(8, grace=2, images=1000, seed=7, metric="map")
    found = {8: 0.5, 9: 0.9}

    def losses(recipe, epoch):
        best = recipe["stages"][-1]["learning_rate"] == max(rates)
        return {"val_loss": 1.0, "map": found.get(recipe["seed"], 0.6) + (0.05 if best else 0.0)}

    rates = [0.0]
    searched = list(search("learning_rate", losses, budget=budget).run(trials=6).study.records.values())
    rates = [record.recipe.stages[-1].learning_rate for record in searched]
    retrainings, ray = again(tmp_path / "again", searched, losses, confirm=6)
    ray.fit()
    first, *others = confirmed(searched, list(retrainings.records.values()))
    assert first.mean == pytest.approx(0.75) and all(other.mean == pytest.approx(0.7) for other in others)
    assert first.trial == rates.index(max(rates))
    assert others[0].behind == pytest.approx((0.05, 0.05)) and not others[0].may_be_noise
    assert first.interval == (0.0, 1.0), "of two seeds that are far apart"
    assert list(confirmed_table([first])) == [
        *("trial", "reference", "map", "seeds", "mean", "low", "high", "behind_low", "behind_high", "may_be_noise")
    ]
