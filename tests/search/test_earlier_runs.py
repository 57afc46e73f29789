"""A search that starts from earlier ones tries their best recipes first, fitted to its own budget and space."""

import dataclasses

import pytest
import yaml

from search.earlier_runs import MOST, EarlierRunError, earlier_recipes
from search.options import Options
from search.sampling import as_kept
from spaces.models import over_models
from spaces.registry import load_space
from trainable.model_signal import SIGNALS

ASKED = Options(
    *("staged", None, "embedded"),
    trials=16,
    max_epochs=24,
    grace=4,
    micro_batch="auto",
    storage="runs",
    name="new",
    start_from="",
)


@pytest.fixture
def run(tmp_path, search):
    """Makes a run folder of a search with made-up losses; returns it and the search's trials, the best first."""

    def run(name="earlier", space="staged", max_epochs=12, trials=9, **asked):
        folder = tmp_path / name
        folder.mkdir()
        models = asked.get("model")
        searched = over_models(load_space(space), dict.fromkeys(models, SIGNALS)) if isinstance(models, list) else space
        started = search(searched, max_epochs=max_epochs, folder=folder).run(trials)
        started.journal.close()
        asked = dataclasses.asdict(ASKED) | {"space": space, "max_epochs": max_epochs} | asked
        (folder / "search.yaml").write_text(yaml.safe_dump(asked))
        return folder, sorted(started.study.records.values(), key=lambda record: record.objective)

    return run


def started_from(*runs, space="staged", **asked):
    options = dataclasses.replace(ASKED, space=space, start_from=",".join(map(str, runs)), **asked)
    models = dict.fromkeys(options.models, SIGNALS)
    return earlier_recipes(options, over_models(load_space(space), models), options.models)


def test_the_best_recipes_come_first_without_the_reference(run):
    folder, ranked = run(max_epochs=24)
    recipes, (said,) = started_from(folder)
    best = [record for record in ranked if not record.reference][:MOST]
    assert recipes == [as_kept(record.parameters) for record in best]
    assert str([record.number for record in best])[1:-1] in said


def test_numbers_of_epochs_grow_with_the_budget_and_all_else_stays(run):
    folder, ranked = run(max_epochs=12)
    recipes, _ = started_from(folder, max_epochs=48)
    best = next(record for record in ranked if not record.reference)
    assert recipes[0].keys() == best.parameters.keys()
    for name, value in as_kept(best.parameters).items():
        if name in ("stage0.epochs", "stage1.epochs"):
            assert recipes[0][name] == 4 * value
        elif "epochs" not in name:
            assert recipes[0][name] == value
    assert any("epochs" in name for recipe in recipes for name in recipe)


def test_every_recipe_is_one_of_the_space_at_any_budget(run, search, tmp_path):
    folder, _ = run(max_epochs=24)
    for max_epochs in (3, 5, 120):
        recipes, _ = started_from(folder, max_epochs=max_epochs, grace=2)
        (tmp_path / str(max_epochs)).mkdir()
        started = search("staged", max_epochs=max_epochs, folder=tmp_path / str(max_epochs), earlier=recipes)
        asked = [started.study.ask() for _ in range(len(recipes) + 1)]
        assert [as_kept(record.parameters) for record in asked[1:]] == recipes
        assert all(record.recipe.epochs == max_epochs for record in asked)


def test_what_a_smaller_space_left_as_in_the_reference_stays_so(run):
    folder, ranked = run(space="freeze", max_epochs=24)
    recipes, _ = started_from(folder)
    best = next(record for record in ranked if not record.reference)
    trained = {name: value for name, value in recipes[0].items() if name not in best.parameters}
    reference = load_space("staged").reference_parameters(24)
    assert trained and trained == {name: as_kept(reference)[name] for name in trained}


def test_a_recipe_of_another_space_is_refused_by_what_does_not_fit(run):
    folder, _ = run(space="staged")
    with pytest.raises(
        EarlierRunError, match=r"--start-from .*earlier: none of its recipes .* fits space freeze.*the space has no"
    ):
        started_from(folder, space="freeze")


def test_recipes_that_two_runs_share_are_tried_once(run):
    first, _ = run("first")
    second, _ = run("second")
    assert started_from(first, second)[0] == started_from(first)[0]


def test_earlier_recipes_stand_before_the_portfolio_and_replay_from_the_journal(run, search, tmp_path):
    recipes, _ = started_from(run()[0])
    (tmp_path / "new").mkdir()
    one = search("staged", max_epochs=24, folder=tmp_path / "new", earlier=recipes).run(12)
    asked = [as_kept(record.parameters) for record in one.study.records.values()]
    others = [as_kept(each) for each in load_space("staged").portfolio(24) if as_kept(each) not in recipes]
    assert asked[1 : 1 + len(recipes) + len(others)] == recipes + others
    one.journal.close()
    again = search("staged", max_epochs=24, folder=tmp_path / "new", earlier=recipes)
    assert [as_kept(record.parameters) for record in again.study.records.values()] == asked


def test_who_starts_from_the_same_search_is_told_to_resume_it(run):
    folder, _ = run(max_epochs=24)
    assert f"--resume {folder} --trials N" in started_from(folder)[1][0]
    assert "--resume" not in started_from(folder, subset=20)[1][0]


def test_what_is_no_run_is_refused_by_name(run, tmp_path):
    folder, _ = run()
    with pytest.raises(EarlierRunError, match=r"--start-from .*nowhere: there is no such folder"):
        started_from(folder, tmp_path / "nowhere")
    (folder / "journal.jsonl").write_text("nonsense\n")
    with pytest.raises(EarlierRunError, match=r"--start-from .*journal.jsonl, line 1: is not JSON"):
        started_from(folder)


def test_a_run_without_a_trained_recipe_is_refused(run):
    folder, _ = run(trials=1)
    with pytest.raises(EarlierRunError, match="none of its recipes but the reference has finished an epoch"):
        started_from(folder)


BOTH = {"model": ["a", "b"], "metric": "map"}


def test_recipes_of_one_model_are_tried_with_it_where_there_are_several(run):
    folder, _ = run(max_epochs=24, model="b")
    recipes, _ = started_from(folder, **BOTH)
    assert {recipe["model"] for recipe in recipes} == {"b"}
    recipes, _ = started_from(folder, model=["a", "c"], metric="map")
    assert {recipe["model"] for recipe in recipes} == {"a"}, "that of the reference"


def test_of_several_models_the_recipes_of_the_one_that_is_searched_are_tried(run):
    folder, ranked = run(max_epochs=24, trials=16, **BOTH)
    recipes, (said,) = started_from(folder, model="b")
    of_b = [record for record in ranked if record.parameters["model"] == "b"][:MOST]
    without = [{name: value for name, value in as_kept(r.parameters).items() if name != "model"} for r in of_b]
    assert recipes == without
    assert "it starts from 'a'" in said or all(record in ranked[: len(of_b) + 1] for record in of_b)
