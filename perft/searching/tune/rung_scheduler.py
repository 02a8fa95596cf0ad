"""Adapts a pruner to Ray Tune's scheduler interface."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from perft.searching.pruning.pruners import Pruner, RungReport
from perft.searching.tune.tune_dicts import Proposal, from_flat_result
from perft.trial import is_confirmation

if TYPE_CHECKING:
    from ray.tune.experiment import Trial


class RungScheduler(FIFOScheduler):  # type: ignore[misc]
    """Runs trials in the order of their proposal, and stops those that a pruner stops.

    Tune asks at every report before a trial's full length; a trial whose process died repeats its
    reports, and gets the same answers.

    Args:
        pruner: decides.
        must_stop: returns whether a trial, given by number, stops whatever the pruner decides.
    """

    def __init__(self, pruner: Pruner, must_stop: Callable[[int], bool]) -> None:
        super().__init__()
        self._pruner, self._must_stop = pruner, must_stop
        self._stopped: dict[tuple[int, int], bool] = {}  # by trial and step

    def on_trial_result(
        self, tune_controller: object, trial: "Trial", result: Mapping[str, Any]
    ) -> str:
        """STOP or CONTINUE."""
        proposal, reported = Proposal.from_tune(trial.config), from_flat_result(result)
        key = proposal.number, reported.report.step
        if key not in self._stopped:
            is_weak = not is_confirmation(proposal.origin) and self._pruner.stops(
                RungReport(
                    number=proposal.number,
                    config=proposal.trial,
                    size=reported.size,
                    report=reported.report,
                )
            )
            self._stopped[key] = is_weak or self._must_stop(proposal.number)
        return str(TrialScheduler.STOP if self._stopped[key] else TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        """Empty: Tune pickles its scheduler for a restore that perft never does."""
        return {}

    def debug_string(self) -> str:
        """The name that Tune prints."""
        return type(self._pruner).__name__
