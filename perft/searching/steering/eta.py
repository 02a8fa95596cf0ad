"""How long a search still takes, from what it has measured. No clock, no Ray.

The steps to come are estimated from the shares of trials that went on at each rung so far, and
their seconds from the steps that all trials together have done per second, evaluations included.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from perft.searching.steering.budget import HOUR, Budget, Spent
from perft.searching.steering.events import ClockDecision, NoNewTrials, TimeIsUp
from perft.trial import Outcome

MEASURED_SECONDS = 10.0
"""Time of training before which nothing is estimated."""

WINDOW_SECONDS = 600.0
"""Time over which the pace is measured."""


class Pace:
    """How many optimiser steps all trials of a search together do in a second.

    Args:
        trials_at_once: trials that all groups together train at a time.
    """

    def __init__(self, trials_at_once: int) -> None:
        self._trials_at_once = trials_at_once
        self._samples: deque[tuple[float, int]] = deque()

    def note(self, seconds: float, steps: int) -> None:
        """Adds a measurement; it begins with the first step.

        Args:
            seconds: by a steady clock.
            steps: that all trials have done by then.
        """
        if not steps:
            return
        self._samples.append((seconds, steps))
        while self._samples[-1][0] - self._samples[0][0] > WINDOW_SECONDS:
            self._samples.popleft()

    @property
    def steps_per_second(self) -> float | None:
        """Of all trials together; None before enough is measured."""
        if not self._samples:
            return None
        (first, before), (last, after) = self._samples[0], self._samples[-1]
        if last - first < MEASURED_SECONDS or after <= before:
            return None
        return (after - before) / (last - first)

    def seconds_of(self, steps: int) -> float | None:
        """Seconds that a trial takes for so many steps beside the others; None as above."""
        rate = self.steps_per_second
        return None if rate is None else steps * self._trials_at_once / rate


@dataclass(frozen=True)
class TrialSoFar:
    """How far a trial is.

    Attributes:
        rung: step of its last report, 0 if it has none.
        step: steps it has done.
        outcome: None while it runs.
    """

    rung: int
    step: int
    outcome: Outcome | None


def kept_shares(rungs: Sequence[int], trials: Iterable[TrialSoFar]) -> dict[int, float]:
    """By rung, the share of the trials that went on there; 1 where no trial has been.

    Args:
        rungs: steps of the rungs, ascending; the last is the full length, which is left out.
        trials: of the search; those that failed are ignored.
    """
    at = [trial for trial in trials if trial.outcome != "failed"]
    shares = {}
    for rung in rungs[:-1]:
        reached = [trial for trial in at if trial.rung >= rung]
        kept = sum(trial.rung > rung or trial.outcome is None for trial in reached)
        shares[rung] = kept / len(reached) if reached else 1.0
    return shares


def expected_steps(rungs: Sequence[int], kept: Mapping[int, float], step: int = 0) -> float:
    """Steps that a trial is expected to do still.

    Args:
        rungs: as of `kept_shares`.
        kept: by rung, the share of the trials that go on there.
        step: steps it has done.
    """
    total, share, before = 0.0, 1.0, step
    for rung in rungs:
        if rung > before:
            total += share * (rung - before)
            before = rung
        if rung > step:
            share *= kept.get(rung, 1.0)
    return total


def steps_to_come(rungs: Sequence[int], trials: Sequence[TrialSoFar], to_come: int) -> float:
    """Steps that all trials of a search are expected to do still; arguments of `seconds_left`."""
    kept = kept_shares(rungs, trials)
    running = [trial for trial in trials if trial.outcome is None]
    steps = sum(expected_steps(rungs, kept, trial.step) for trial in running)
    return steps + to_come * expected_steps(rungs, kept)


def seconds_left(
    rungs: Sequence[int], trials: Sequence[TrialSoFar], to_come: int, pace: Pace
) -> float | None:
    """Seconds until the search has trained all; None before it is known.

    Args:
        rungs: as of `kept_shares`.
        trials: those that have started.
        to_come: trials that have not.
        pace: of the search.
    """
    rate = pace.steps_per_second
    if rate is None or not any(trial.outcome for trial in trials):
        return None
    return steps_to_come(rungs, trials, to_come) / rate


def clock_decision(
    budget: Budget, spent: Spent, gpus: float, seconds_of_trial: float | None
) -> ClockDecision | None:
    """What the clock decides now; None if nothing.

    Args:
        budget: of the search.
        spent: what the search has used.
        gpus: GPUs of its worker groups.
        seconds_of_trial: seconds of a full-length trial; None before they are measured.
    """
    left = budget.seconds_left(spent, gpus)
    if left is None:
        return None
    if not left:
        return TimeIsUp(reason=f"{_bounds(budget)} used up: each trial stops at its next rung")
    if seconds_of_trial is None or seconds_of_trial <= left:
        return None
    takes = f"a full-length trial takes about {duration(seconds_of_trial)}"
    if seconds_of_trial > (budget.seconds_left(Spent(), gpus) or 0.0):
        return NoNewTrials(reason=f"{takes}, more than {_bounds(budget)} allows; raise it")
    return NoNewTrials(
        reason=f"{duration(left)} of {_bounds(budget)} left, {takes}: no more trials are proposed"
    )


def duration(seconds: float) -> str:
    """A duration in few characters, such as "40 s", "12 min", "2.5 h" or "3 days"."""
    if seconds < 59.5:
        return f"{max(round(seconds), 1)} s"
    if seconds < 59.5 * 60:
        return f"{round(seconds / 60)} min"
    if seconds < 48 * HOUR:
        return f"{seconds / HOUR:.1f} h"
    return f"{math.ceil(seconds / HOUR / 24)} days"


def _bounds(budget: Budget) -> str:
    hours = {"--max-hours": budget.max_hours, "--max-gpu-hours": budget.max_gpu_hours}
    return " and ".join(f"{name} {value:g}" for name, value in hours.items() if value is not None)
