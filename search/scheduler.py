"""ASHA over epochs, which compares the reference and never stops it."""

from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from results.journal.events import Asked, Event, Reported


class FairASHA(ASHAScheduler):
    """Asynchronous successive halving on `val_loss` (arXiv 1810.05934), with rungs at whole epochs.

    Args:
        grace: epochs of the lowest rung.
        max_epochs: epochs that no trial exceeds.
        reduction: one trial in so many goes on past a rung.
    """

    def __init__(self, grace: int, max_epochs: int, reduction: float):
        # One more than any trial has: reaching the budget is a trial's own end, not a stop.
        super().__init__("epoch", "val_loss", "min", max_epochs + 1, grace, reduction)
        self.stopped: set[int] = set()
        self._ids: dict[int, str] = {}

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Records the result in its rung and says whether the trial goes on."""
        decision: str = super().on_trial_result(tune_controller, trial, result)
        number = trial.config["number"]
        if number == 0:
            decision = TrialScheduler.CONTINUE
        elif decision == TrialScheduler.STOP:
            self.stopped.add(number)
        return decision

    def replay(self, event: Event) -> None:
        """Takes in an event of the journal as if it came from a live trial."""
        trial = SimpleNamespace(trial_id=_replayed_id(event.trial), config={"number": event.trial})
        if isinstance(event, Asked):
            self.on_trial_add(None, trial)
        elif isinstance(event, Reported):
            row = event.metrics
            self.on_trial_result(None, trial, {"epoch": row.epoch, "val_loss": row.val_loss})

    def rename_trial(self, number: int, trial_id: str) -> None:
        """Gives a trial's places in the rungs to the live trial that goes on with it."""
        before, self._ids[number] = self._ids.get(number, _replayed_id(number)), trial_id
        for bracket in self._brackets:  # No public way to rename a trial in Ray 2.60.
            for _, recorded in bracket._rungs:
                if before in recorded:
                    recorded[trial_id] = recorded.pop(before)


def _replayed_id(number: int) -> str:
    return f"replayed-{number}"
