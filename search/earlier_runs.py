"""What earlier searches found, fitted to a new one that begins with it: `--start-from`."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial

from results.journal.events import JournalError
from results.journal.journal import TrialRecord
from results.journal.opened_run import NoRunError, OpenedRun, open_run
from search.options import Options
from search.sampling import OneByOne, as_kept, offered
from spaces.models import MODEL
from spaces.registry import Space
from trainable.storage.remote import without_secrets
from trainable.text.command_line import command_line
from trainable.text.shown import printable, shown

MOST = 4
"""Recipes of one run at most; more would leave little of a search of 16 trials to its own data."""
_SAME = ("space", "data", "subset", "group_by", "model", "image_size", "align", "max_epochs", "metric", "seed")
"""Options that make two searches the same, how long they last aside."""


class EarlierRunError(ValueError):
    """A search cannot start from a run; the message says why."""


class _MisfitError(ValueError):
    """A recipe is none of the space; the message says why."""


def earlier_recipes(options: Options, space: Space, models: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The best recipes of the runs that `--start-from` names, as parameters of the space at this search's budget.

    Numbers of epochs are brought in proportion to the budget, and to the nearest value that the space has; what an
    earlier space left as it is in the reference stays so.

    Args:
        options: what was asked.
        space: where recipes of this search come from.
        models: what they start from.

    Returns:
        The parameters, run by run, the best of each first, none of them twice; and what is to be said, a line a run.

    Raises:
        EarlierRunError: there is no such run, or none of the recipes fits.
        StorageError: the remote storage cannot be used or reached.
    """
    fitted: list[dict[str, Any]] = []
    said: list[str] = []
    for run in (options.start_from or "").split(","):
        try:
            with open_run(run) as earlier:
                found, misfits = _of_run(earlier, space, options.max_epochs, models)
        except (NoRunError, JournalError) as error:
            raise EarlierRunError(f"--start-from {error}") from None
        name = without_secrets(run)
        if not found:
            why = f"fits space {space.name}: {'; '.join(misfits)}" if misfits else "has finished an epoch"
            raise EarlierRunError(f"--start-from {name}: none of its recipes but the reference {why}")
        fitted += [recipe for recipe in found.values() if recipe not in fitted]
        said.append(f"--start-from {name}: begins with the recipes of its trials {', '.join(map(str, found))}")
        if misfits:
            said[-1] += f"; left out: {'; '.join(misfits)}"
        if all(earlier.asked.get(option) == getattr(options, option) for option in _SAME):
            instead = command_line("resume", name, "--trials", "N")
            said[-1] += f"; this search is the same and trains them again, {instead} would go on with that one"
    return fitted, said


def _of_run(
    run: OpenedRun, space: Space, max_epochs: int, models: Sequence[str]
) -> tuple[dict[int, dict[str, Any]], list[str]]:
    """The parameters of a run's best recipes by its trials, and why others do not fit, of those that are better."""
    fitted: dict[int, dict[str, Any]] = {}
    misfits: list[str] = []
    sound = [record for record in run.records if record.history and record.status != "FAILED" and not record.reference]
    for record in sorted(sound, key=attrgetter("objective")):
        if len(fitted) == MOST:
            break
        try:
            parameters = _with_model(record.parameters, run.asked["model"], models)
            parameters = _fitted(record, parameters, run.asked.get("max_epochs"), space, max_epochs)
        except _MisfitError as misfit:
            misfits.append(f"trial {record.number} ({misfit})")
            continue
        if parameters not in fitted.values():
            fitted[record.number] = parameters
    return fitted, misfits


def _with_model(parameters: dict[str, Any], asked: str | list[str], models: Sequence[str]) -> dict[str, Any]:
    """An earlier trial's parameters, and what it started from as far as this search says it.

    Args:
        parameters: of the trial.
        asked: what its search was to start from.
        models: what this one starts from.

    Raises:
        _MisfitError: it started from another model than the only one of this search.
    """
    rest, chosen = {name: value for name, value in parameters.items() if name != MODEL}, parameters.get(MODEL)
    if len(models) > 1:
        known = chosen or (asked if asked in models else None)
        return rest | ({MODEL: known} if known else {})
    if chosen not in (None, *models):
        raise _MisfitError(f"it starts from {shown(chosen)}")
    return rest


def _fitted(
    record: TrialRecord, parameters: dict[str, Any], budget: int | None, space: Space, max_epochs: int
) -> dict[str, Any]:
    epochs = budget or (record.recipe.epochs if record.recipe else max_epochs)
    sampler = _Fitting(parameters, max_epochs / epochs, space.reference_parameters(max_epochs) or {})
    trial = optuna.create_study(sampler=sampler).ask()
    try:
        space.build(trial, max_epochs)
    except _MisfitError:
        raise
    except Exception as error:  # A user's space may raise whatever it likes.
        raise _MisfitError(f"the space raised {type(error).__name__}: {error}") from None
    if unknown := sorted(parameters.keys() - trial.params.keys()):
        raise _MisfitError(f"the space has no {', '.join(unknown)}")
    return as_kept(trial.params)


class _Fitting(OneByOne):
    """Draws what an earlier search drew, brought to what the space offers.

    Args:
        parameters: of the earlier search.
        longer: this search's budget of epochs, by the earlier one's.
        otherwise: what parameters are of which the earlier search had none.
    """

    def __init__(self, parameters: Mapping[str, Any], longer: float, otherwise: Mapping[str, Any]):
        self._parameters = parameters
        self._longer = longer
        self._otherwise = otherwise

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The earlier value of the parameter, or the one next to it that is offered."""
        name = printable(param_name)
        if name not in self._parameters:
            if name not in self._otherwise:
                raise _MisfitError(f"it has no {name}")
            return self._otherwise[name]
        value = self._parameters[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and "epochs" in name:
            return _nearest(value * self._longer, param_distribution)
        if same := offered(param_distribution, value):
            return same[0]
        if not is_number or isinstance(param_distribution, CategoricalDistribution):
            raise _MisfitError(f"{name} cannot be {shown(value)}")
        return _nearest(value, param_distribution)


def _nearest(value: float, distribution: BaseDistribution) -> Any:
    """The value that a parameter may have next to this one."""
    if isinstance(distribution, CategoricalDistribution):
        numbers = [choice for choice in distribution.choices if isinstance(choice, int | float)]
        if not numbers:
            raise _MisfitError(f"{value:g} is none of {', '.join(map(shown, distribution.choices))}")
        return min(numbers, key=lambda number: abs(number - value))
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high = distribution.low, distribution.high
    step = distribution.step or 0
    inside = min(max(value, low), high)
    return type(low)(low + round((inside - low) / step) * step) if step else type(low)(inside)
