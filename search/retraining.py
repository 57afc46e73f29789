"""After the search: its best recipes trained with other seeds, and the winner once more for as long as is asked."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from results.journal.events import Asked
from results.journal.journal import Journal, TrialRecord
from results.retrained import CONFIRM, FINAL, winner
from search.options import Options
from search.trials import Trials
from trainable.recipe import Recipe


@dataclass(frozen=True)
class _Wanted:
    """A training that is asked for."""

    purpose: str
    trial: int
    recipe: Recipe

    @property
    def parameters(self) -> dict[str, Any]:
        """Why it is trained, as the journal keeps it."""
        return {"purpose": self.purpose, "trial": self.trial, "seed": self.recipe.seed}


class Retrainings(Trials):
    """Trainings of recipes that a search has found; what they are follows from its trials and from one another.

    First the best `--confirm` recipes, and the reference with them, each with `--confirm-seeds` seeds that follow the
    search's own; then the winner's recipe, stretched to `--final-epochs`. All train to their end. What was trained once
    is not trained again, however the search is extended.

    Args:
        journal: replayed at once; then written.
        searched: the trials of the search, which is over.
        options: how much is asked for.
    """

    def __init__(self, journal: Journal, searched: Sequence[TrialRecord], options: Options):
        super().__init__(journal)
        self.searched = searched
        self.options = options
        for event in journal.events:
            self._apply(event)

    def left(self, trials: int = 0) -> int:
        """How many have still to be trained, a final one that waits for the others among them."""
        waits = bool(self.options.final_epochs) and self._confirms()
        return len(self._due()) + len(self.unfinished) + waits

    def next(self, trials: int | None = None) -> TrialRecord | None:
        """The next one that is wanted; None while the final one waits for others, and at the end."""
        due = self._due()
        if not due:
            return None
        number, first = len(self.records), due[0]
        self._write(Asked(number, first.parameters, first.recipe, False, time.time()))
        return self.records[number]

    def _due(self) -> list[_Wanted]:
        return self._untrained(self._to_confirm() if self._confirms() else self._final())

    def _confirms(self) -> bool:
        """Whether it is not known yet which recipe wins."""
        runs = any(record.parameters["purpose"] == CONFIRM for record in self.unfinished)
        return runs or bool(self._untrained(self._to_confirm()))

    def _to_confirm(self) -> list[_Wanted]:
        """Seed by seed, so that recipes are compared as soon as may be."""
        sound = [record for record in self.searched if record.status != "FAILED" and record.best]
        best = sorted(sound, key=attrgetter("objective"))[: self.options.confirm]
        reference = [record for record in sound if record.reference and record not in best] if best else []
        return [
            _Wanted(
                CONFIRM, record.number, dataclasses.replace(record.recipe, seed=(record.recipe.seed + more) % 2**32)
            )
            for more in range(1, self.options.confirm_seeds + 1)
            for record in (*best, *reference)
            if record.recipe
        ]

    def _final(self) -> list[_Wanted]:
        best = winner(self.searched, list(self.records.values()))
        if not self.options.final_epochs or best is None or best.recipe is None:
            return []
        recipe = stretched(best.recipe, self.options.final_epochs)
        is_trained = recipe == best.recipe and best.status == "COMPLETED"
        return [] if is_trained else [_Wanted(FINAL, best.number, recipe)]

    def _untrained(self, wanted: Sequence[_Wanted]) -> list[_Wanted]:
        known = {(record.parameters["purpose"], record.recipe) for record in self.records.values()}
        return [each for each in wanted if (each.purpose, each.recipe) not in known]


def stretched(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe with its stages brought in proportion to so many epochs in all, each to one at least.

    Cycles and the share of the warm-up are of a stage, however long it is.
    """
    lengths = [max(1, round(stage.epochs * epochs / recipe.epochs)) for stage in recipe.stages]
    # What rounding has added or left falls to the longest.
    longest = lengths.index(max(lengths))
    lengths[longest] = max(1, lengths[longest] + epochs - sum(lengths))
    stages = [dataclasses.replace(stage, epochs=n) for stage, n in zip(recipe.stages, lengths, strict=True)]
    return dataclasses.replace(recipe, stages=tuple(stages))
