"""The events of a journal, and what they must say, so that all who read one can rely on it.

In a file each is a JSON object: its kind as `event`, and the fields of its class.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Strict, TypeAdapter, ValidationError

from trainable.history import EpochRow, Seconds, Whole
from trainable.recipe import KeptRecipe
from trainable.text.shown import shown
from trainable.text.validation import faults_of, rule

Status = Literal["COMPLETED", "PRUNED", "FAILED"]


class JournalError(ValueError):
    """The journal cannot be read or written; the message names the file and says why."""


def _are_printable(parameters: dict[str, Any]) -> bool:
    return all(map(str.isprintable, parameters))


def _none_if_empty(recipe: Any) -> Any:
    return None if recipe == {} else recipe


@dataclass(frozen=True, slots=True)
class Asked:
    """The search has asked for a trial."""

    kind: ClassVar = "asked"
    trial: Whole
    """Its number."""
    parameters: Annotated[dict[str, Any], rule(_are_printable, "an object of printable names")]
    """Optuna's."""
    recipe: Annotated[KeptRecipe | None, BeforeValidator(_none_if_empty)]
    """None where the space raised; an empty object in the file."""
    reference: Annotated[bool, Strict()]
    """Whether it is the reference recipe."""
    time: Seconds
    """Since 1970, as all times."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A trial has reported an epoch."""

    kind: ClassVar = "reported"
    trial: Whole
    metrics: EpochRow
    time: Seconds


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial has ended."""

    kind: ClassVar = "ended"
    trial: Whole
    status: Status
    error: Annotated[str, Strict()] | None
    """Why it failed."""
    time: Seconds


@dataclass(frozen=True, slots=True)
class Paused:
    """A trial has come to a rung, and waits there until it is promoted."""

    kind: ClassVar = "paused"
    trial: Whole
    time: Seconds


@dataclass(frozen=True, slots=True)
class Promoted:
    """A trial goes on past the rung that it has come to, whether or not it had to wait there."""

    kind: ClassVar = "promoted"
    trial: Whole
    time: Seconds


Event = Asked | Reported | Paused | Promoted | Ended


def to_dict(event: Event) -> dict[str, Any]:
    """An event as a file has it; `EventReader` takes it back."""
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    if isinstance(event, Asked):
        fields["recipe"] = event.recipe.to_dict() if event.recipe else {}
    elif isinstance(event, Reported):
        fields["metrics"] = event.metrics.to_dict()
    return {"event": event.kind} | fields


def fault_of(event: Event) -> str | None:
    """Why nobody could read the event once it is written; None where all can."""
    faults = faults_of(_KINDS[event.kind], to_dict(event))
    return faults[0] if faults else None


class EventReader:
    """Reads a journal from its start, in any number of pieces, and holds each event to the rules.

    The rules are of each event alone, and of their order: a trial is asked for once and before all else, and its epochs
    go up.

    Args:
        source: what error messages call the journal.

    Attributes:
        events: all that have been read.
    """

    def __init__(self, source: str):
        self.source = source
        self.events: list[Event] = []
        self._stages: dict[int, int] = {}
        self._epochs: dict[int, int] = {}

    def read(self, plain: Iterable[Any]) -> None:
        """Takes in the next events, as JSON gives them.

        Raises:
            JournalError: one of them breaks a rule.
        """
        for each in plain:
            event = self._event(each)
            if fault := self._fault_of_order(event):
                raise self._error(fault)
            if isinstance(event, Asked):
                self._stages[event.trial] = len(event.recipe.stages) if event.recipe else 0
            elif isinstance(event, Reported):
                self._epochs[event.trial] = event.metrics.epoch
            self.events.append(event)

    def _event(self, plain: Any) -> Event:
        if not isinstance(plain, dict):
            raise self._error(f"an event is an object, got {shown(plain)}")
        kind = plain.get("event")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise self._error(f"event: one of {', '.join(_KINDS)}, got {shown(kind)}")
        try:
            return _KINDS[kind].validate_python(plain)
        except ValidationError:
            raise self._error(faults_of(_KINDS[kind], plain)[0]) from None

    def _fault_of_order(self, event: Event) -> str | None:
        """What is wrong with an event after those before it."""
        trial = event.trial
        if isinstance(event, Asked):
            return f"trial {trial} is asked for a second time" if trial in self._stages else None
        if trial not in self._stages:
            return f"trial {trial} has {event.kind} before it was asked for"
        if isinstance(event, Reported):
            epoch, stage, before = event.metrics.epoch, event.metrics.stage, self._epochs.get(trial, 0)
            if epoch <= before:
                return f"trial {trial} reports epoch {epoch} after epoch {before}"
            if stage >= self._stages[trial]:
                return f"trial {trial} reports stage {stage} and has {self._stages[trial]}, counted from 0"
        if isinstance(event, Paused | Promoted) and trial not in self._epochs:
            return f"trial {trial} has {event.kind} before it reported an epoch"
        return None

    def _error(self, fault: str) -> JournalError:
        return JournalError(f"{self.source}, line {len(self.events) + 1}: {fault}; {ADVICE}")


ADVICE = "mend the line, or cut the journal off before it: a resumed search goes on from there"

_KINDS: dict[str, TypeAdapter[Event]] = {
    kind.kind: TypeAdapter(kind) for kind in (Asked, Reported, Paused, Promoted, Ended)
}
