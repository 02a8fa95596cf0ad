"""Asynchronous successive halving (arXiv 1810.05934), as Ray Tune's `ASHAScheduler` does it."""

from dataclasses import dataclass

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from perft.search.pruners import RungReport
from perft.search.space import REDUCTION_FACTOR

_STEP, _LOSS = "step", "val_loss"


class Asha:
    """Stops a trial whose validation loss is above the median of those at its rung so far.

    Args:
        rungs: steps after which a trial reports, ascending; the last is its full length.
    """

    def __init__(self, rungs: tuple[int, ...]) -> None:
        self._scheduler = ASHAScheduler(
            time_attr=_STEP,
            metric=_LOSS,
            mode="min",
            max_t=rungs[-1],
            grace_period=rungs[0],
            reduction_factor=REDUCTION_FACTOR,
        )

    def stops(self, at: RungReport) -> bool:
        """Whether the trial is among the worse half at its rung."""
        trial = _Trial(str(at.number))
        self._scheduler.on_trial_add(None, trial)  # there is one bracket: adding twice is harmless
        result = {_STEP: at.report.step, _LOSS: at.report.val_loss}
        decision = self._scheduler.on_trial_result(None, trial, result)
        return bool(decision == TrialScheduler.STOP)


@dataclass(frozen=True)
class _Trial:
    """The only attribute of a trial that Tune's scheduler reads."""

    trial_id: str
