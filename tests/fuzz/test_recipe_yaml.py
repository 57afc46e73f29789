"""Whatever a recipe.yaml holds: a recipe, or one `RecipeError` that names the file and every broken rule."""

import dataclasses

from fuzzing import VALUES, damaged, fuzz, yaml_bytes
from hypothesis import strategies as st

from trainable.recipe import DTYPES, PARTS, REFERENCE, Recipe, RecipeError, reference

GOOD = (
    REFERENCE.to_yaml().encode(),
    dataclasses.replace(reference(7), patience=3, dtype="bfloat16").to_yaml().encode(),
    b"# mine\nweight_decay: 1e-3\nstages:\n- {name: all, trainable: [decoder], epochs: 3, learning_rate: 1e-4}\n",
    b"stages:\n- &one {name: a, trainable: [decoder], epochs: 3, learning_rate: 0.1}\n- {<<: *one, name: b}\n",
)
STAGES = st.fixed_dictionaries(
    {
        "name": st.text(max_size=5) | VALUES,
        "trainable": st.lists(st.sampled_from(PARTS), max_size=5) | VALUES,
        "epochs": st.integers(-1, 9) | VALUES,
        "learning_rate": st.floats(0, 1) | VALUES,
    },
    optional={"restart_cycles": st.integers() | VALUES, "nmae": VALUES},
)
FIELDS = {
    "stages": st.lists(STAGES, max_size=3),
    "batch_size": st.integers(),
    "accumulation_steps": st.integers(1, 4),
    "weight_decay": st.floats(),
    "backbone_learning_rate_factor": st.floats(),
    "warmup_share": st.floats(0, 1),
    "max_grad_norm": st.floats(),
    "evaluations_per_epoch": st.integers(),
    "patience": st.none() | st.integers(),
    "dtype": st.sampled_from(DTYPES),
    "seed": st.integers(),
}


def check(folder, content):
    path = folder / "recipe.yaml"
    path.write_bytes(content)
    try:
        recipe = Recipe.from_yaml(path)
    except RecipeError as error:
        assert str(error).startswith(f"{path}: ") and error.faults
        assert all(line.isprintable() for line in str(error).split("\n"))
        assert all(len(fault) < 500 for fault in error.faults)
        return
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert Recipe.from_yaml(path) == recipe, "what was read is written and read again without loss"


@fuzz(st.binary(max_size=60) | damaged(GOOD) | yaml_bytes(FIELDS), examples=400)
def test_a_recipe_file_gives_a_recipe_or_names_its_faults(folder, content):
    check(folder, content)
