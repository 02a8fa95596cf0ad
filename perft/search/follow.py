"""Follows Ray Tune: what happens to a trial there goes to the ledger, the view and the meeting."""

from typing import Any

import ray
from ray import tune

from perft.search.ledger import Ledger
from perft.search.view import View


class Follow(tune.Callback):  # type: ignore[misc]
    """Tune callback of one search; runs in the driver.

    Args:
        ledger: the search's book.
        view: what the user watches.
        meeting: handle of the meeting point.
    """

    def __init__(self, ledger: Ledger, view: View, meeting: Any) -> None:
        self._ledger = ledger
        self._view = view
        self._meeting = meeting

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune pickles its callbacks for a restore that perft never does."""
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has begun, or begun again in a new process."""
        self._ledger.start(trial.config["number"], trial.config["trial"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Scheduler and searcher have acted on a report."""
        number = trial.config["number"]
        self._meeting.processed.remote(number, result["step"])
        self._view.reported(self._ledger.report(number, result["report"], result["size"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was full-length, or was stopped at a rung."""
        number = trial.config["number"]
        self._meeting.ended.remote(number)
        self._view.ended(self._ledger.end(number))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial failed for good."""
        number = trial.config["number"]
        self._ledger.start(number, trial.config["trial"])
        reason = ray.get(self._meeting.failure_of.remote(number))
        self._meeting.ended.remote(number)
        self._view.ended(self._ledger.end(number, reason or "the trial's process died"))
