"""The spaces that there are: those of this folder, and a user's own file."""

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FixedTrial

from spaces.budget import default_grace
from trainable.recipe import Recipe, reference

DRAWS = 10
"""Recipes that `check_space` draws."""


class SpaceError(ValueError):
    """A space cannot be found, cannot be loaded, or gives what no search can run."""


@dataclass(frozen=True)
class Space:
    """A space and what a search needs to know of it."""

    name: str
    """What `load_space` takes to load it again."""
    description: str
    """One line, the first of its docstring."""
    build: Callable[[optuna.Trial, int], Recipe]
    """Draws a recipe of at most so many epochs. It leaves the seed alone, which is the search's."""
    reference_parameters: Callable[[int], dict[str, Any] | None]
    """For a `max_epochs`, the parameters that give the reference; None where the space cannot express it."""
    portfolio: Callable[[int], list[dict[str, Any]]] = field(default=lambda max_epochs: _nothing(max_epochs))
    """For a `max_epochs`, parameters of recipes that are worth trying before any is drawn."""
    reference_model: str | None = None
    """What the reference starts from, where recipes say which model they start from."""


def spaces() -> dict[str, Space]:
    """The spaces of this folder by name: every module that has a function of its own name."""
    found = {}
    for entry in pkgutil.iter_modules([str(Path(__file__).parent)]):
        module = importlib.import_module(f"{__package__}.{entry.name}")
        if inspect.isfunction(getattr(module, entry.name, None)):
            found[entry.name] = _space(entry.name, module, entry.name)
    return found


def load_space(spec: str) -> Space:
    """The space that a user names.

    Args:
        spec: a name of `spaces()`, or `path/to/file.py:function`. Such a file may also have a function
            `reference_parameters` and one `portfolio` (see `Space`).

    Raises:
        SpaceError: there is no such name, file or function, the file raises when it is imported, or its function does
            not take a trial and `max_epochs`.
    """
    if ".py" not in spec:
        return _named_space(spec)
    path, colon, function = spec.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise SpaceError(f"{spec}: a space of your own is written path/to/file.py:function")
    return _space(spec, _import_file(Path(path)), function)


def check_space(space: Space, max_epochs: int) -> list[str]:
    """Draws a few recipes, so that a space that cannot work is refused before a search starts.

    From here on Optuna itself does not warn of what has been said of the space: it would, at every draw.

    Returns:
        What its author should know, a sentence each.

    Raises:
        SpaceError: the space raises, returns something else than a recipe, one over the budget or one with a seed or
            a model of its own, its `reference_parameters` do not give the reference, or its `portfolio` gives no
            recipes.
    """
    warnings.filterwarnings("ignore", "Choices for a categorical distribution should be", UserWarning)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(DRAWS):
        trial = study.ask()
        recipe = _build(space, trial, max_epochs)
        if recipe.epochs > max_epochs:
            raise SpaceError(
                f"space {space.name}: a recipe has at most max_epochs = {max_epochs} epochs, "
                f"got {recipe.epochs} with {trial.params}"
            )
        if recipe.seed != Recipe.seed:
            raise SpaceError(
                f"space {space.name}: a recipe's seed is the search's --seed, in every trial the same; leave it out, "
                f"got {recipe.seed} with {trial.params}"
            )
        if recipe.model is not None:
            raise SpaceError(
                f"space {space.name}: what a recipe starts from is the search's --model, given several times where "
                f"there is to be a choice; leave it out, got {recipe.model!r} with {trial.params}"
            )
    _check_reference(space, study, max_epochs)
    _check_portfolio(space, max_epochs)
    return [
        f"space {space.name}: the choices of {name!r} hold {kind}, which optuna.db cannot keep as what they are; "
        "choose among names and look the values up: "
        f'{{"a": ..., "b": ...}}[trial.suggest_categorical({name!r}, ["a", "b"])]'
        for name, kind in _choices_of_other_kinds(study).items()
    ]


def signals_of(space: Space, max_epochs: int) -> set[tuple[str | None, str]]:
    """What the recipes of a checked space have which model be given of a pair, as far as a few draws show it."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    recipes = [_build(space, study.ask(), max_epochs) for _ in range(DRAWS)]
    return {(recipe.model, recipe.input.signal) for recipe in recipes}


def _choices_of_other_kinds(study: optuna.Study) -> dict[str, str]:
    """Names of parameters whose choices are of a type that Optuna does not store as it is, and that type."""
    found: dict[str, str] = {}
    for trial in study.get_trials(deepcopy=False):
        for name, distribution in trial.distributions.items():
            choices = distribution.choices if isinstance(distribution, CategoricalDistribution) else ()
            others = [choice for choice in choices if not isinstance(choice, None | bool | int | float | str)]
            if others:
                found.setdefault(name, f"a {type(others[0]).__name__}")
    return found


def _named_space(name: str) -> Space:
    found = spaces()
    if name in found:
        return found[name]
    close = difflib.get_close_matches(name, found, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise SpaceError(
        f"no space is called {name!r}{hint}; there are {', '.join(found)}, or your own as path/to/file.py:function"
    )


def _space(name: str, module: ModuleType, function: str) -> Space:
    build = getattr(module, function, None)
    if build is None:
        raise SpaceError(f"{name}: {module.__file__} has no function {function!r}")
    if not _takes_two_arguments(build):
        raise SpaceError(f"{name}: a space is a function (trial, max_epochs) that returns a recipe, got {build!r}")
    lines = (inspect.getdoc(build) or "without a description").splitlines()
    return Space(
        name,
        lines[0],
        build,
        getattr(module, "reference_parameters", _not_expressible),
        getattr(module, "portfolio", _nothing),
    )


def _takes_two_arguments(build: Any) -> bool:
    try:
        inspect.signature(build).bind("trial", "max_epochs")
    except (TypeError, ValueError):
        return False
    return True


def _not_expressible(max_epochs: int) -> None:
    """What a space without `reference_parameters` says of the reference."""


def _nothing(max_epochs: int) -> list[dict[str, Any]]:
    """The portfolio of a space that names none."""
    return []


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SpaceError(f"{path}: there is no such file")
    spec = importlib.util.spec_from_file_location(f"user_space_{path.stem}", path)
    assert spec and spec.loader, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    # Pickle and dataclasses look a function's module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise SpaceError(f"{path}: importing it raised {type(error).__name__}: {error}") from error
    return module


def _build(space: Space, trial: optuna.Trial, max_epochs: int) -> Recipe:
    try:
        recipe = space.build(trial, max_epochs)
    except Exception as error:
        raise SpaceError(
            f"space {space.name}: raised {type(error).__name__} for max_epochs = {max_epochs}: {error}"
        ) from error
    if not isinstance(recipe, Recipe):
        raise SpaceError(f"space {space.name}: a space returns a trainable.recipe.Recipe, got {recipe!r}")
    return recipe


def _check_portfolio(space: Space, max_epochs: int) -> None:
    try:
        for parameters in space.portfolio(max_epochs):
            with warnings.catch_warnings(action="error", category=UserWarning):  # Of a value that is not offered.
                space.build(FixedTrial(parameters), max_epochs)  # type: ignore[arg-type]
    except Exception as error:
        raise SpaceError(
            f"space {space.name}: portfolio({max_epochs}) must be parameters of its recipes: "
            f"{type(error).__name__}: {error}"
        ) from error


def _check_reference(space: Space, study: optuna.Study, max_epochs: int) -> None:
    try:
        parameters = space.reference_parameters(max_epochs)
    except Exception as error:
        raise SpaceError(
            f"space {space.name}: reference_parameters({max_epochs}) raised {type(error).__name__}: {error}"
        ) from error
    if parameters is None:
        return
    study.enqueue_trial(parameters)
    recipe = _build(space, study.ask(), max_epochs)
    wanted = reference(max_epochs, head_epochs=default_grace(max_epochs))
    if recipe != wanted:
        raise SpaceError(
            f"space {space.name}: reference_parameters({max_epochs}) must give the reference or be None; "
            f"the reference is {wanted}, got {recipe}"
        )
