"""The search's memory: what it asks, what it tells Optuna, and that a journal rebuilds it as it was."""

import copy
import dataclasses
import functools
import json
import random
import shutil

import pytest
from optuna.trial import TrialState

from results.journal.events import JournalError
from results.journal.journal import TrialRecord, best_trial
from search import sampling
from search.study import Budget, fit_recipe
from spaces.models import over_models
from spaces.registry import Space, load_space, spaces
from trainable.model_signal import DIFFERENCE, SIGNALS
from trainable.recipe import PARTS, Input, Recipe, Stage, reference


def parameters(search) -> list[dict]:
    return [trial.params for trial in search.study.optuna.trials]


def known(search) -> list[TrialRecord]:
    """Every trial's record, but for when things happened."""
    happened = {"asked": 0.0, "ended": 0.0, "reported": []}
    return [dataclasses.replace(record, **happened) for record in search.study.records.values()]


def told(search) -> list[tuple]:
    """What the sampler is shown of every trial."""
    with search.study._memory.for_sampler(search.study.optuna):
        trials = search.study.optuna.get_trials(deepcopy=False)
    return [(t.number, t.state, t.params, dict(t.intermediate_values), t.values) for t in trials]


def rungs(search) -> dict:
    """Who has reached which rung and what is decided there."""
    return copy.deepcopy(vars(search.study.rungs))


def raising_space(trial, max_epochs):
    rate = trial.suggest_float("rate", 1e-5, 1e-3, log=True)
    if trial.number in (1, 3):
        raise ValueError("this rate cannot be")
    return Recipe((Stage("all", ("class_head", "decoder"), max_epochs, rate),))


MODELS = {"first": SIGNALS, "second": [DIFFERENCE]}
RAISING = Space("mine", "raises now and then", raising_space, lambda max_epochs: None)


@pytest.mark.parametrize("name", sorted(spaces()))
@pytest.mark.parametrize("max_epochs", [3, 24, 120])
def test_trial_0_is_the_reference_whatever_the_space(search, name, max_epochs):
    started = search(name, budget=Budget(max_epochs, grace=20, images=100_000, seed=7))
    record, trial = started.study.ask(), started.study.optuna.trials[0]
    assert record.reference and record.recipe == dataclasses.replace(reference(max_epochs), seed=7)
    if "recipe" in trial.user_attrs:
        assert trial.user_attrs["recipe"] == record.recipe.to_dict()
    else:
        assert trial.params == load_space(name).reference_parameters(max_epochs)


def test_the_portfolio_comes_after_the_reference_unless_it_is_left_out(search, tmp_path):
    wanted = load_space("staged").portfolio(8)
    for pruning, tried in (("promotion", wanted), ("stopping", [])):
        (tmp_path / pruning).mkdir()
        started = search("staged", folder=tmp_path / pruning, pruning=pruning)
        drawn = [started.study.ask().parameters for _ in range(6)][1:]
        assert [parameters for parameters in drawn if parameters in wanted] == tried


@pytest.mark.parametrize("grace", [2, 4])
def test_the_default_space_holds_the_reference_as_parameters(search, grace):
    started = search("staged", budget=Budget(24, grace, images=10_000, seed=7))
    started.study.ask()
    assert started.study.optuna.trials[0].params["head_stage.learning_rate"] == 1e-4
    assert "recipe" not in started.study.optuna.trials[0].user_attrs


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_seed_draws_the_same_trials(search, tmp_path, sampler):
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        runs.append(search("staged", folder=tmp_path / name, sampler=sampler).run(10))
    assert told(runs[0]) == told(runs[1]) and known(runs[0]) == known(runs[1])


def test_the_samplers_differ_once_tpe_has_something_to_model(search, tmp_path):
    runs = {}
    for sampler in ("tpe", "random"):
        (tmp_path / sampler).mkdir()
        runs[sampler] = parameters(search(folder=tmp_path / sampler, sampler=sampler).run(10))
    assert runs["tpe"] != runs["random"]


@pytest.mark.parametrize(
    "space",
    ["learning_rate", "staged", RAISING, over_models(load_space("scenes"), MODELS)],
    ids=["learning_rate", "staged", "raising", "models"],
)
def test_replaying_a_journal_gives_the_same_study_and_the_same_next_trial(search, tmp_path, space):
    live = search(space).run(9)
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "journal.jsonl", tmp_path / "copy")
    replayed = search(space, folder=tmp_path / "copy")
    assert known(replayed) == known(live) and told(replayed) == told(live)
    assert replayed.journal.events == live.journal.events
    assert replayed.study.ask().recipe == live.study.ask().recipe


def test_a_long_search_is_replayed_with_what_its_sampler_saw(search, tmp_path, monkeypatch):
    for name, value in (("ALL_UP_TO", 20), ("BEST", 3), ("OTHERS", 9)):
        monkeypatch.setattr(sampling, name, value)
    live = search("staged").run(40)
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "journal.jsonl", tmp_path / "copy")
    replayed = search("staged", folder=tmp_path / "copy")
    assert told(replayed) == told(live) and replayed.study.ask().recipe == live.study.ask().recipe


PRUNINGS = pytest.mark.parametrize("pruning", ["promotion", "stopping"])


@PRUNINGS
@pytest.mark.parametrize("space", ["learning_rate", RAISING], ids=["learning_rate", "raising"])
def test_a_search_cut_after_any_line_ends_as_if_it_had_never_been(search, tmp_path, space, pruning):
    def losses(recipe, epoch):
        if recipe["stages"][0]["learning_rate"] < 4e-5 and epoch == 3:
            return "FloatingPointError: val_loss is nan"
        return 1 + 1e-4 / recipe["stages"][0]["learning_rate"] + 1 / epoch

    unbroken = search(space, losses, max_epochs=6, pruning=pruning).run(8)
    assert len({record.status for record in unbroken.study.records.values()}) > 1
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(len(lines)):
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:cut]) + lines[cut][:20])
        resumed = search(space, losses, max_epochs=6, folder=folder, pruning=pruning).run(8)
        assert known(resumed) == known(unbroken), f"cut after line {cut}"
        assert told(resumed) == told(unbroken), f"cut after line {cut}"
        shutil.rmtree(folder)


@PRUNINGS
@pytest.mark.parametrize("space", ["learning_rate", RAISING], ids=["learning_rate", "raising"])
def test_a_journal_of_trials_side_by_side_is_replayed_to_the_same_study_and_the_same_next_trial(
    search, tmp_path, space, pruning
):
    live, happened, side_by_side, choose = search(space, pruning=pruning), {}, [], random.Random(3)
    live.searcher.trials = 16
    while live.study.left(16):
        if len(live.study.unfinished) < 4:
            side_by_side.append(live.trial())
        working = choose.choice(side_by_side)
        if next(working, None) is None:
            side_by_side.remove(working)
        happened[len(live.journal.events)] = copy.deepcopy((known(live), told(live), rungs(live)))
    events = [(event.kind, event.trial) for event in live.journal.events]
    assert len({trial for _, trial in events[: events.index(("ended", 0))]}) > 4, "trials were not side by side"
    kinds = {"paused", "promoted"} if pruning == "promotion" else set()
    assert {kind for kind, _ in events} == {"asked", "reported", "ended"} | kinds
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines) + 1):
        folder = tmp_path / "cut"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
        replayed = search(space, folder=folder, pruning=pruning)
        # What a trial's last report, or a space that raised, brought with it is made up for.
        until = next(count for count in sorted(happened) if count >= cut)
        assert (known(replayed), told(replayed), rungs(replayed)) == happened[until], f"cut after line {cut}"
        if events[until : until + 1] == [("asked", len(replayed.study.records))]:
            recipe = live.study.records[len(replayed.study.records)].recipe
            assert replayed.study.ask().recipe == recipe, f"cut after line {cut}"
        replayed.journal.close()
        shutil.rmtree(folder)


def test_an_epoch_that_is_known_is_dropped(search, row):
    study = search().study
    study.ask()
    assert study.report(0, row(1, 5.0)) and study.report(0, row(2, 4.0))
    assert not study.report(0, row(1, 9.0)) and not study.report(0, row(2, 9.0))
    assert [row.val_loss for row in study.records[0].history] == [5.0, 4.0]
    assert study.optuna.trials[0].intermediate_values == {1: 5.0, 2: 4.0}
    assert [event.kind for event in study.journal.events] == ["asked", "reported", "reported"]


@pytest.mark.parametrize(
    ("status", "state", "value"),
    [("COMPLETED", TrialState.COMPLETE, 4.0), ("PRUNED", TrialState.PRUNED, None), ("FAILED", TrialState.FAIL, None)],
)
def test_optuna_is_told_how_a_trial_ended(search, row, status, state, value):
    study = search().study
    study.ask()
    for epoch, loss in enumerate((5.0, 4.0, 4.5), start=1):
        study.report(0, row(epoch, loss))
    study.end(0, status, "why" if status == "FAILED" else None)
    study.close()
    trial = study.optuna.trials[0]
    assert trial.state == state and trial.intermediate_values == {1: 5.0, 2: 4.0, 3: 4.5}
    # Optuna itself answers with the last intermediate value for a pruned trial that was told none.
    assert trial.value == (4.5 if status == "PRUNED" else value)


def test_a_trial_ends_once(search):
    study = search().study
    study.ask()
    study.end(0, "FAILED", "the first cause")
    study.end(0, "COMPLETED")
    assert (study.records[0].status, study.records[0].error) == ("FAILED", "the first cause")
    assert [event.kind for event in study.journal.events] == ["asked", "ended"]


def test_a_space_that_raises_gives_a_failed_trial_and_the_search_goes_on(search):
    records = search(RAISING).run(5).study.records
    assert [number for number, record in records.items() if record.status == "FAILED"] == [1, 3]
    assert records[1].error == "space mine raised ValueError: this rate cannot be"
    assert records[1].recipe is None and records[1].history == []
    assert records[4].status in ("COMPLETED", "PRUNED")


def test_a_parameter_may_have_any_name_and_is_kept_by_one_that_can_be_shown(search):
    def odd_space(trial, max_epochs):
        return Recipe((Stage("all", PARTS, max_epochs, trial.suggest_float("learning\nrate", 1e-5, 1e-3)),))

    space = Space("odd", "has an odd name", odd_space, lambda max_epochs: None)
    live = search(space).run(4)
    drawn = [record.parameters for record in live.study.records.values()]
    assert drawn[1:] == [{"learning\\nrate": record.recipe.stages[0].learning_rate} for record in known(live)[1:]]
    live.journal.close()
    assert [record.parameters for record in search(space).study.records.values()] == drawn


def test_a_changed_space_is_refused_with_what_was_drawn_and_what_would_be(search, tmp_path):
    search("staged").run(3).journal.close()
    asked = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    before = next(event["parameters"] for event in asked if event.get("parameters") and event["trial"] == 0)
    with pytest.raises(JournalError, match="the space or the libraries have changed") as caught:
        search("learning_rate")
    assert str(before) in str(caught.value) and "'stages': 3" in str(caught.value)
    assert "journal.jsonl: trial 0 " in str(caught.value) and "space learning_rate" in str(caught.value)


def test_a_changed_space_that_is_forced_keeps_the_trials_and_draws_on(search):
    begun = search("learning_rate").run(3)
    begun.run_trial(epochs=1)
    begun.journal.close()
    forced = search("staged", forced=True)
    assert known(forced) == known(begun)
    assert [state for _, state, *_ in told(forced)] == [state for _, state, *_ in told(begun)]
    forced.run(8)
    drawn = [record.recipe.stages for record in forced.study.records.values()]
    assert all(drawn.count(stages) == 1 for stages in drawn), "no recipe is drawn a second time"
    assert {trial.state.is_finished() for trial in forced.study.optuna.trials} == {True}
    forced.journal.close()
    assert known(search("staged", forced=True)) == known(forced)


def test_a_space_that_has_gained_a_choice_goes_on_with_a_search_that_made_it_as_the_reference_does(search):
    def before(trial, max_epochs):
        return load_space("staged").build(trial, max_epochs)

    def later(trial, max_epochs, signals=("difference", "stacked")):
        given = Input(signal=trial.suggest_categorical("input.signal", signals))
        return dataclasses.replace(before(trial, max_epochs), input=given)

    def reference_parameters(max_epochs):
        return load_space("staged").reference_parameters(max_epochs) | {"input.signal": "difference"}

    begun = search(Space("mine", "", before, load_space("staged").reference_parameters)).run(4)
    begun.journal.close()
    later_on = search(Space("mine", "", later, reference_parameters))
    assert known(later_on) == known(begun)
    drawn = later_on.run(16).study.records.values()
    assert {"stacked", "difference"} == {record.recipe.input.signal for record in list(drawn)[4:]}
    later_on.journal.close()
    with pytest.raises(JournalError, match="the space or the libraries have changed"):
        search(Space("mine", "", functools.partial(later, signals=("stacked",)), lambda max_epochs: None))


def tuple_space(trial, max_epochs):
    parts = trial.suggest_categorical("parts", [("class_head",), ("box_head", "class_head")])
    return Recipe((Stage("heads", tuple(parts), 2, 1e-4), Stage("all", ("decoder",), max_epochs - 2, 1e-4)))


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
def test_a_space_with_choices_that_json_does_not_know_is_resumed(search):
    space = Space("mine.py:tuple_space", "", tuple_space, lambda max_epochs: None)
    begun = search(space).run(4)
    begun.journal.close()
    assert len(search(space).study.finished) == 4


def test_restart_cycles_are_capped_by_the_data():
    few, many = (fit_recipe(reference(120), Budget(120, 20, images, seed=0)) for images in (32, 3200))
    assert [stage.restart_cycles for stage in many.stages] == [5, 5, 5]
    # 32 images are one update an epoch, and a cycle has at least four.
    assert [stage.restart_cycles for stage in few.stages] == [5, 5, 5]
    short = fit_recipe(reference(12), Budget(12, 2, 32, seed=0))
    assert [stage.restart_cycles for stage in short.stages] == [1, 1, 2]


def test_head_stages_are_cut_to_the_grace_period():
    recipe = fit_recipe(reference(120), Budget(120, grace=6, images=1000, seed=3))
    assert [stage.epochs for stage in recipe.stages] == [6, 34, 80]
    assert (recipe.epochs, recipe.seed) == (120, 3)


def test_every_trial_has_the_searchs_image_size(search):
    study = search("staged", budget=Budget(8, 2, 1000, seed=7, image_size=480)).run(3).study
    assert {record.recipe.image_size for record in study.records.values()} == {480}


def test_by_another_metric_optuna_is_told_what_is_missing_to_one(search):
    def losses(recipe, epoch):
        return {"val_loss": 2.0, "map": recipe["stages"][0]["learning_rate"]}

    searched = search("staged", losses, budget=Budget(8, 2, 1000, seed=7, metric="map")).run(8)
    study = searched.study
    assert {record.recipe.metric for record in study.records.values()} == {"map"}
    assert study.optuna.metric_names == ["1 - mAP"]
    best = best_trial(study.records.values())
    assert best.compared == max(record.compared for record in study.records.values())
    assert study.optuna.trials[best.number].value == pytest.approx(1 - best.compared)


@pytest.mark.parametrize("space", ["staged", "flat", RAISING], ids=["staged", "flat", "raising"])
def test_of_several_models_the_reference_starts_from_the_first(search, space):
    started = search(over_models(load_space(space) if isinstance(space, str) else space, MODELS))
    record = started.study.ask()
    assert record.reference and record.recipe.model == "first"
    started.journal.close()
    assert search(over_models(load_space(space) if isinstance(space, str) else space, MODELS)).study.records == (
        started.study.records
    )


def test_an_alignment_of_the_whole_search_leaves_each_recipe_its_signal():
    recipe = dataclasses.replace(reference(8), input=Input("off", "stacked"))
    assert fit_recipe(recipe, Budget(8, 2, 1000, seed=7, align="auto")).input == Input("auto", "stacked")


@pytest.mark.parametrize(
    ("asked", "signal", "at_a_time"), [("8", "stacked", 8), ("8", "features", 4), ("1", "features", 1)]
)
def test_of_pairs_of_which_both_images_pass_the_backbone_half_as_many_go_at_a_time(asked, signal, at_a_time):
    recipe = dataclasses.replace(reference(8), input=Input(signal=signal))
    assert fit_recipe(recipe, Budget(8, 2, 1000, seed=7, micro_batch=asked)).micro_batch == at_a_time
