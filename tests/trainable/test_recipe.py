import dataclasses
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainable.metric import METRICS
from trainable.recipe import (
    DTYPES,
    PARTS,
    REFERENCE,
    UPDATES_PER_CYCLE,
    Augmentation,
    Input,
    Recipe,
    RecipeError,
    Stage,
    cap_restart_cycles,
    flatten,
    reference,
    updates_per_epoch,
)

LEARNING_RATES = st.floats(1e-12, 1.0)
STAGES = st.builds(
    Stage,
    name=st.text(st.characters(codec="utf-8"), max_size=12).filter(str.isprintable),
    trainable=st.lists(st.sampled_from(PARTS), min_size=1, unique=True).map(tuple),
    epochs=st.integers(1, 500),
    learning_rate=LEARNING_RATES,
    restart_cycles=st.integers(1, 20),
)
RECIPES = st.builds(
    Recipe,
    stages=st.lists(STAGES, min_size=1, max_size=4).map(tuple),
    batch_size=st.integers(1, 64),
    accumulation_steps=st.integers(1, 64),
    weight_decay=st.floats(0, 1),
    backbone_learning_rate_factor=LEARNING_RATES,
    warmup_share=st.floats(0, 0.99),
    max_grad_norm=st.floats(0, 10),
    evaluations_per_epoch=st.integers(1, 9),
    patience=st.none() | st.integers(1, 9),
    dtype=st.sampled_from(DTYPES),
    seed=st.integers(0, 2**32 - 1),
    image_size=st.none() | st.integers(32, 4096),
    metric=st.sampled_from(list(METRICS)),
)

STAGE = Stage("all", PARTS, epochs=2, learning_rate=1e-4)


def faults_of(plain):
    with pytest.raises(RecipeError) as caught:
        Recipe.from_dict(plain, "my.yaml")
    assert str(caught.value).startswith("my.yaml: ")
    return caught.value.faults


@given(RECIPES)
def test_a_recipe_survives_the_way_to_a_plain_dict_and_back(recipe):
    assert Recipe.from_dict(recipe.to_dict()) == recipe


@settings(deadline=None)
@given(recipe=RECIPES)
def test_a_recipe_survives_the_way_to_a_file_and_back(tmp_path_factory, recipe):
    path = tmp_path_factory.getbasetemp() / "round-trip.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(path) == recipe


@pytest.mark.parametrize("name", ["1e-4", "5E5", "1.5", "yes", "null", "", "# x", "a: b", "Kopf, später"])
def test_a_stage_may_have_a_name_that_looks_like_something_else(tmp_path, name):
    recipe = Recipe((dataclasses.replace(STAGE, name=name),))
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == recipe


def test_a_recipe_written_by_hand_needs_only_what_has_no_default(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "# mine\nweight_decay: 1e-3\nmax_grad_norm: 2E+1\n"
        "stages:\n- {name: all, trainable: [decoder, class_head], epochs: 3, learning_rate: 1e-4}\n"
    )
    stage = Stage("all", ("decoder", "class_head"), epochs=3, learning_rate=1e-4)
    assert Recipe.from_yaml(tmp_path / "recipe.yaml") == Recipe((stage,), weight_decay=1e-3, max_grad_norm=20.0)


def test_what_is_read_is_written_again_to_the_byte(tmp_path):
    """Whole numbers among them, which a float equals: tables are made of the text."""
    text = dataclasses.replace(reference(5), weight_decay=0, max_grad_norm=1).to_yaml()
    assert "weight_decay: 0\n" in text
    (tmp_path / "recipe.yaml").write_text(text, encoding="utf-8")
    assert Recipe.from_yaml(tmp_path / "recipe.yaml").to_yaml() == text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- 1", r"should be a mapping of fields, got \[1\]"),
        (b"a: [", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        (b"", "should be a mapping of fields, got None"),
    ],
)
def test_a_file_that_holds_no_recipe_is_named(tmp_path, content, message):
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(RecipeError, match=rf"bad\.yaml(.|\n)*{message}"):
        Recipe.from_yaml(tmp_path / "bad.yaml")
    with pytest.raises(RecipeError, match=r"none\.yaml(.|\n)*cannot be read"):
        Recipe.from_yaml(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size: 2\nbatch_size: 4", "line 2: the key 'batch_size' is there twice"),
        (f"batch_size: {10**400}", "a whole number of more than 64 bits"),
        ('"\\e[2J": 1', r"\\x1b\[2J: no such field"),
        ("a: 2024-13-45", "line 1: '2024-13-45' is no timestamp"),
    ],
)
def test_what_a_file_may_not_say_is_told_on_lines_that_steer_no_terminal(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(RecipeError, match=rf"bad\.yaml(.|\n)*{message}") as caught:
        Recipe.from_yaml(tmp_path / "bad.yaml")
    assert all(line.isprintable() for line in str(caught.value).split("\n"))


@pytest.mark.parametrize("field", ["batch_size", "weight_decay", "seed"])
def test_numbers_that_no_table_holds_are_refused(field):
    (fault,) = faults_of({"stages": [dataclasses.asdict(STAGE)], field: 10**400})
    assert (
        re.fullmatch(rf"{field}: should be (less than \d+|a valid number), got 1000+\.\.\.0+", fault)
        and len(fault) < 100
    )


def test_all_faults_are_named_together_whatever_their_kind():
    faults = faults_of(
        {
            "stages": [
                {"name": 3, "trainable": ["neck", "decoder"], "epochs": 0, "learning_rate": "fast"},
                {"name": "b", "trainable": "decoder", "epochs": 1.5, "learning_rate": math.nan, "lr": 1},
                "everything",
                {"trainable": ["decoder", "decoder"], "restart_cycles": True},
            ],
            "batch_sise": 2,
            "weight_decay": -1,
            "patience": 0,
            "dtype": "float64",
            "seed": 2**32,
        }
    )
    expected = [
        "batch_sise: no such field",
        "stages[0].name: should be a valid string, got 3",
        "stages[0].trainable: a list of one or more of backbone, encoder, decoder, box_head, class_head",
        "stages[0].epochs: should be greater than or equal to 1, got 0",
        "stages[0].learning_rate: should be a valid number, got 'fast'",
        "stages[1].lr: no such field; there are name, trainable, epochs",
        "stages[1].trainable: a list of",
        "stages[1].epochs: should be a valid integer, got 1.5",
        "stages[1].learning_rate: should be a finite number, got nan",
        "stages[2]: should be a mapping of fields, got 'everything'",
        "stages[3].name: is missing",
        "stages[3].epochs: is missing",
        "stages[3].learning_rate: is missing",
        "stages[3].trainable: a list of",
        "stages[3].restart_cycles: should be a valid integer, got True",
        "weight_decay: should be greater than or equal to 0, got -1",
        "patience: should be greater than or equal to 1, got 0",
        "dtype: one of float32, bfloat16, float16, auto, got 'float64'",
        "seed: should be less than 4294967296, got 4294967296",
    ]
    assert len(faults) == len(expected)
    for text in expected:
        assert sum(fault.startswith(text) for fault in faults) == 1, text


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({}, "stages: is missing"),
        ({"stages": []}, "stages: a list of at least one stage, got []"),
        ({"stages": 3}, "stages: a list of at least one stage, got 3"),
        ({"stages": None}, "stages: a list of at least one stage, got None"),
    ],
)
def test_a_recipe_needs_a_list_of_stages(plain, message):
    assert faults_of(plain) == [message]


@pytest.mark.parametrize(
    "change",
    [
        *({"stages": ()}, {"batch_size": 0}, {"accumulation_steps": 0}, {"weight_decay": math.inf}, {"dtype": "int8"}),
        *({"backbone_learning_rate_factor": 0.0}, {"warmup_share": 1.0}, {"max_grad_norm": -0.1}, {"seed": -1}),
        *({"evaluations_per_epoch": 0}, {"patience": 0}, {"stages": (dataclasses.replace(STAGE, trainable=()),)}),
    ],
    ids=str,
)
def test_a_recipe_made_in_code_is_checked_as_one_from_a_file(change):
    with pytest.raises(RecipeError, match=next(iter(change))):
        dataclasses.replace(Recipe((STAGE,)), **change)


@pytest.mark.parametrize("budget", range(3, 201))
def test_the_reference_keeps_its_stages_and_fills_any_budget(budget):
    recipe = reference(budget)
    assert recipe.epochs == budget
    assert all(stage.epochs >= 1 for stage in recipe.stages)
    assert dataclasses.replace(recipe, stages=REFERENCE.stages) == REFERENCE
    for scaled, original in zip(recipe.stages, REFERENCE.stages, strict=True):
        assert dataclasses.replace(scaled, epochs=original.epochs) == original
        assert abs(scaled.epochs - original.epochs * budget / 120) <= 1


def test_the_reference_at_its_own_budget_is_the_reports():
    assert reference(120) == REFERENCE
    assert [stage.epochs for stage in REFERENCE.stages] == [20, 20, 80]
    assert [stage.learning_rate for stage in REFERENCE.stages] == [1e-4, 5e-5, 1e-5]


@pytest.mark.parametrize(("budget", "most", "epochs"), [(120, 4, [4, 20, 96]), (24, 9, [4, 4, 16]), (3, 1, [1, 1, 1])])
def test_what_the_head_only_stage_may_not_have_goes_to_the_last_stage(budget, most, epochs):
    assert [stage.epochs for stage in reference(budget, head_epochs=most).stages] == epochs


def test_a_budget_that_gives_a_stage_no_epoch_is_refused():
    with pytest.raises(ValueError, match="has 3 stages, so max_epochs must be at least that"):
        reference(2)


def test_updates_count_the_ragged_rest_of_an_epoch():
    recipe = Recipe((STAGE,), batch_size=2, accumulation_steps=4)
    assert [updates_per_epoch(recipe, images) for images in (1, 8, 9, 16, 17)] == [1, 1, 2, 2, 3]


@given(recipe=RECIPES, images=st.integers(1, 500))
def test_a_restart_cycle_has_enough_updates_after_the_warm_up(recipe, images):
    capped = cap_restart_cycles(recipe, images)
    for stage, asked in zip(capped.stages, recipe.stages, strict=True):
        assert dataclasses.replace(stage, restart_cycles=asked.restart_cycles) == asked
        updates = stage.epochs * updates_per_epoch(recipe, images)
        after_warmup = updates - math.ceil(updates * recipe.warmup_share)
        room = max(1, after_warmup // UPDATES_PER_CYCLE)
        assert stage.restart_cycles == min(asked.restart_cycles, room)


def test_a_recipe_that_leaves_the_size_to_the_checkpoint_reads_as_before_there_was_a_choice():
    assert not {"image_size", "input", "augmentation", "metric"} & reference(6).to_dict().keys()


def test_what_the_model_is_given_goes_to_a_dict_and_back():
    asked = dataclasses.replace(reference(6), input=Input("auto"), augmentation=Augmentation(0.5, 0.2))
    assert asked.to_dict()["input"] == {"alignment": "auto", "signal": "difference"}
    assert asked.to_dict()["augmentation"] == {"probability": 0.5, "strength": 0.2, "variants": None}
    assert Recipe.from_dict(asked.to_dict()) == asked
    with pytest.raises(RecipeError, match=r"input\.alignment: one of off, .*got 'x'"):
        Recipe.from_dict(asked.to_dict() | {"input": {"alignment": "x"}})
    with pytest.raises(RecipeError, match=r"augmentation\.probability: .*got 2\.0"):
        Recipe.from_dict(asked.to_dict() | {"augmentation": {"probability": 2.0}})


def test_a_flat_recipe_has_a_column_for_every_field():
    asked = {"model": "somewhere", "image_size": 480, "metric": "map"}
    recipe = dataclasses.replace(reference(6), input=Input("auto"), augmentation=Augmentation(0.5), **asked)
    flat = flatten(recipe)
    assert flat["stages.0.trainable"] == "box_head+class_head"
    assert flat["stages.2.learning_rate"] == 1e-5
    assert flat["patience"] is None
    assert flat["input.alignment"] == "auto"
    fields = {kind: len(dataclasses.fields(kind)) for kind in (Recipe, Stage, Input, Augmentation)}
    assert len(flat) == fields[Recipe] - 3 + 3 * fields[Stage] + fields[Input] + fields[Augmentation]
    assert not any(isinstance(value, list | tuple | dict) for value in flat.values())
