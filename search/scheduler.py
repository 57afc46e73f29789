"""The rungs behind Ray Tune's `TrialScheduler`."""

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from search.searcher import StudySearcher


class RungScheduler(FIFOScheduler):
    """Stops, in Ray's eyes, the trials that the searcher has end or pause at a rung.

    Args:
        searcher: of the same search.
    """

    def __init__(self, searcher: StudySearcher):
        super().__init__()
        self.searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Has the searcher take in what a trial reports, and says whether the trial goes on."""
        goes_on = self.searcher.goes_on(trial.trial_id, result)
        return str(TrialScheduler.CONTINUE if goes_on else TrialScheduler.STOP)
