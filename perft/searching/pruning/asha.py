"""Asynchronous successive halving (arXiv 1810.05934), as Ray Tune's `ASHAScheduler` does it."""

from dataclasses import dataclass

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from perft.searching.pruning.pruners import RungReport
from perft.searching.space import REDUCTION_FACTOR
from perft.selection import objective

_STEP, _VALUE = "step", "value"


class Asha:
    """Stops a trial that is among the worse half of those at its rung so far.

    Args:
        rungs: steps after which a trial reports, ascending; the last is its full length.
        by_accuracy: whether the accuracy is compared, where answers are scored; else the loss.
    """

    def __init__(self, rungs: tuple[int, ...], *, by_accuracy: bool = False) -> None:
        self._by_accuracy = by_accuracy
        self._scheduler = ASHAScheduler(
            time_attr=_STEP,
            metric=_VALUE,
            mode="min",
            max_t=rungs[-1],
            grace_period=rungs[0],
            reduction_factor=REDUCTION_FACTOR,
        )

    def stops(self, at: RungReport) -> bool:
        """Whether the trial is among the worse half at its rung."""
        value = -objective(at.report) if self._by_accuracy else at.report.val_loss
        trial = _Trial(str(at.number))
        self._scheduler.on_trial_add(None, trial)  # there is one bracket: adding twice is harmless
        result = {_STEP: at.report.step, _VALUE: value}
        decision = self._scheduler.on_trial_result(None, trial, result)
        return bool(decision == TrialScheduler.STOP)


@dataclass(frozen=True)
class _Trial:
    """The only attribute of a trial that Tune's scheduler reads."""

    trial_id: str
