"""Finding spaces by name and by file, and refusing those that cannot work."""

from pathlib import Path

import optuna
import pytest

from spaces.registry import SpaceError, check_space, load_space, spaces

OWN_SPACE = '''
from trainable.recipe import PARTS, Recipe, Stage, reference

def mine(trial, max_epochs):
    """My rates.

    More about them.
    """
    rate = trial.suggest_float("rate", 1e-5, 1e-3, log=True)
    return Recipe((Stage("all", PARTS, epochs={epochs}, learning_rate=rate),))
'''


@pytest.fixture
def write(tmp_path: Path):
    """Writes a file with one space called `mine` and returns how a user would name it."""

    def write(text: str, function: str = "mine") -> str:
        path = tmp_path / "own.py"
        path.write_text(text, encoding="utf-8")
        return f"{path}:{function}"

    return write


def test_the_folder_has_the_four_spaces_each_with_a_line_of_description():
    found = spaces()
    assert list(found) == ["flat", "freeze", "learning_rate", "scenes", "staged"]
    assert all(len(space.description) > 20 and "\n" not in space.description for space in found.values())


def test_every_space_of_the_folder_passes_the_check():
    for space in spaces().values():
        check_space(space, 24)


def test_a_space_loads_by_name():
    assert load_space("staged") == spaces()["staged"]


def test_an_unknown_name_is_answered_with_the_nearest_and_all_names():
    with pytest.raises(SpaceError, match=r"'stagd' \(did you mean staged\?\); there are flat, freeze"):
        load_space("stagd")


def test_helper_modules_are_no_spaces():
    with pytest.raises(SpaceError, match="no space is called 'budget'"):
        load_space("budget")


def test_a_users_file_is_loaded_and_keeps_the_name_that_loads_it_again(write):
    spec = write(OWN_SPACE.format(epochs="max_epochs"))
    space = load_space(spec)
    assert (space.name, space.description) == (spec, "My rates.")
    assert space.reference_parameters(24) is None
    check_space(space, 24)


def test_a_users_reference_parameters_are_found(write):
    inverse = "\ndef reference_parameters(max_epochs):\n    return {'rate': 1e-4}\n"
    space = load_space(write(OWN_SPACE.format(epochs="max_epochs") + inverse))
    assert space.reference_parameters(24) == {"rate": 1e-4}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def other(trial, max_epochs): ...", "has no function 'mine'"),
        ("import nothing_of_this_name", "importing it raised ModuleNotFoundError: No module named 'nothing_of"),
        ("def mine(:", "importing it raised SyntaxError"),
        ("def mine(trial): ...", r"a space is a function \(trial, max_epochs\)"),
        ("mine = 3", r"a space is a function \(trial, max_epochs\) that returns a recipe, got 3"),
    ],
)
def test_a_file_that_is_no_space_is_refused_with_its_fault(write, text: str, message: str):
    with pytest.raises(SpaceError, match=message):
        load_space(write(text))


def test_a_missing_file_is_named():
    with pytest.raises(SpaceError, match=r"nowhere\.py: there is no such file"):
        load_space("nowhere.py:mine")


def test_a_file_without_a_function_is_told_how_to_write_it():
    with pytest.raises(SpaceError, match=r"written path/to/file\.py:function"):
        load_space("own.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN_SPACE.format(epochs="max_epochs + 1"), r"at most max_epochs = 24 epochs, got 25 with \{'rate'"),
        ("def mine(trial, max_epochs): return {'rate': 1}", r"returns a trainable\.recipe\.Recipe, got \{'rate': 1\}"),
        ("def mine(trial, max_epochs): return 1 / 0", "raised ZeroDivisionError for max_epochs = 24"),
        (
            "from trainable.recipe import Recipe, Stage\n"
            "def mine(trial, max_epochs):\n"
            "    seed = trial.suggest_int('seed', 1, 9)\n"
            "    return Recipe((Stage('heads', ('class_head',), 2, 1e-4),), seed=seed)",
            r"seed is the search's --seed, in every trial the same; leave it out, got \d with \{'seed': \d\}",
        ),
        (
            OWN_SPACE.format(epochs="0"),
            r"raised RecipeError.*24(.|\n)*epochs: should be greater than or equal to 1, got 0",
        ),
    ],
)
def test_a_space_whose_recipes_cannot_run_is_refused_before_the_search(write, text: str, message: str):
    with pytest.raises(SpaceError, match=message):
        check_space(load_space(write(text)), 24)


@pytest.mark.parametrize(
    ("inverse", "message"),
    [("return {'rate': 1e-4}", "must give the reference or be None"), ("raise KeyError(1)", "raised KeyError: 1")],
)
def test_reference_parameters_that_give_another_recipe_are_refused(write, inverse: str, message: str):
    text = OWN_SPACE.format(epochs="max_epochs") + f"\ndef reference_parameters(max_epochs):\n    {inverse}\n"
    with pytest.raises(SpaceError, match=message):
        check_space(load_space(write(text)), 24)


LISTS = """
from trainable.recipe import PARTS, Recipe, Stage

def mine(trial, max_epochs):
    parts = trial.suggest_categorical("parts", [list(PARTS), ["class_head"]])
    trial.suggest_categorical("fine", ["a", 1, None, True, 0.5])
    return Recipe((Stage("all", tuple(parts), max_epochs, 1e-4),))
"""


def test_a_portfolio_that_is_not_of_the_space_is_refused(write):
    text = """
def mine(trial, max_epochs):
    from trainable.recipe import PARTS, Recipe, Stage
    return Recipe((Stage("all", PARTS, max_epochs, trial.suggest_float("rate", 1e-5, 1e-3)),))

def portfolio(max_epochs):
    return [{"rate": 0.5}]
"""
    with pytest.raises(SpaceError, match=r"portfolio\(24\) must be parameters of its recipes: .*0\.5"):
        check_space(load_space(write(text)), 24)


def test_lists_as_choices_are_told_once_with_what_to_write_instead(write, recwarn):
    space = load_space(write(LISTS))
    (said,) = check_space(space, 24)
    assert "the choices of 'parts' hold a list" in said
    assert """{"a": ..., "b": ...}[trial.suggest_categorical('parts', ["a", "b"])]""" in said
    study = optuna.create_study()
    for _ in range(5):
        space.build(study.ask(), 24)
    assert not [warning for warning in recwarn if "categorical" in str(warning.message)]


def test_nothing_is_said_of_choices_that_can_be_kept(write):
    assert check_space(load_space(write(OWN_SPACE.format(epochs="max_epochs"))), 24) == []
