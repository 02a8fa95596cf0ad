"""What is left of a running search: its budget, and the time that it still takes."""

import math
import time
from collections.abc import Callable, Mapping, Sequence

from perft.searching.agenda import Agenda
from perft.searching.ledger import Entry
from perft.searching.steering.budget import HOUR, Budget
from perft.searching.steering.eta import (
    Pace,
    TrialSoFar,
    clock_decision,
    duration,
    seconds_left,
    steps_to_come,
)
from perft.searching.steering.events import ClockDecision
from perft.searching.steering.stopwatch import Stopwatch
from perft.trial import first_step

SAMPLE_SECONDS = 1.0
"""Least time between two measurements of the pace: each asks the coordinator."""


class Outlook:
    """Measures a search while it trains; while it repeats what was trained before, nothing.

    Args:
        rungs: steps after which a trial reports; the last is the full length.
        agenda: what the search proposes.
        entries: the ledger's trials, by number; read, never changed.
        steps: returns, by running trial, the steps it has done between rungs.
        stopwatch: runs while the worker groups are there.
        pace: is measured.
        budget: of the search.
        clock: returns steady seconds.

    Attributes:
        budget: of the search now.
    """

    def __init__(
        self,
        rungs: Sequence[int],
        agenda: Agenda,
        entries: Mapping[int, Entry],
        steps: Callable[[], Mapping[int, int]],
        *,
        stopwatch: Stopwatch,
        pace: Pace,
        budget: Budget,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rungs, self._agenda, self._entries, self._steps = rungs, agenda, entries, steps
        self._stopwatch, self._pace, self._clock = stopwatch, pace, clock
        self._sampled = -math.inf
        self._between: Mapping[int, int] = {}
        self.budget = budget

    def measure(self) -> None:
        """Measures the pace, and notes the time; not oftener than every `SAMPLE_SECONDS`.

        Raises:
            StorageError: if the time cannot be written.
        """
        now = self._clock()
        if now - self._sampled < SAMPLE_SECONDS:
            return
        self._sampled = now
        self._stopwatch.keep()
        self._between = self._steps()
        self._pace.note(now, sum(_own_steps(entry, step) for entry, step in self._progress()))

    def clock_decision(self) -> ClockDecision | None:
        """What the clock decides now; None if nothing."""
        whole = self._pace.seconds_of(self._rungs[-1])
        return clock_decision(self.budget, self._stopwatch.spent, self._stopwatch.gpus, whole)

    def __str__(self) -> str:
        """Time left, GPU hours used and the rest of the budget, as far as they are known."""
        spent, parts = self._stopwatch.spent, []
        if (seconds := self._seconds_left()) is not None:
            parts.append(f"about {duration(seconds)} left")
        if self._stopwatch.gpus:
            parts.append(f"{spent.gpu_seconds / HOUR:.2f} GPU hours")
        left = []
        if (of_time := self.budget.seconds_left(spent, self._stopwatch.gpus)) is not None:
            left.append(duration(of_time))
        if (steps := self.budget.steps_left(self._done())) is not None:
            left.append(f"{steps:,} steps")
        if left:
            parts.append(f"budget {', '.join(left)}")
        return "  ·  ".join(parts)

    @property
    def share(self) -> float:
        """Share of the search that is done, by its steps or by its hours, in [0, 1]."""
        done, spent = self._done(), self._stopwatch.spent
        bounds = [steps_to_come(self._rungs, self._trials(), self._agenda.to_come)]
        if (steps := self.budget.steps_left(done)) is not None:
            bounds.append(steps)
        shares = [done / (done + left) if done + left else 0.0 for left in bounds]
        if (seconds := self.budget.seconds_left(spent, self._stopwatch.gpus)) is not None:
            shares.append(spent.seconds / max(spent.seconds + seconds, 1.0))
        return max(shares)

    def _trials(self) -> list[TrialSoFar]:
        return [
            TrialSoFar(entry.reports[-1].step if entry.reports else 0, step, entry.outcome)
            for entry, step in self._progress()
        ]

    def _seconds_left(self) -> float | None:
        """The least of what the trials, the hours and the steps of the budget leave."""
        rate = self._pace.steps_per_second
        found = seconds_left(self._rungs, self._trials(), self._agenda.to_come, self._pace)
        if found is None or rate is None:
            return None
        of_time = self.budget.seconds_left(self._stopwatch.spent, self._stopwatch.gpus)
        steps = self.budget.steps_left(self._done())
        bounds = (found, of_time, None if steps is None else steps / rate)
        return min(bound for bound in bounds if bound is not None)

    def _done(self) -> int:
        return sum(_own_steps(entry, step) for entry, step in self._progress())

    def _progress(self) -> list[tuple[Entry, int]]:
        """The trials, each with the step at which it is."""
        entries = list(self._entries.values())  # the search may add one meanwhile
        return [(entry, _step(entry, self._between.get(entry.number, 0))) for entry in entries]


def _step(entry: Entry, between: int) -> int:
    last = entry.reports[-1].step if entry.reports else 0
    return max(last, between) if entry.outcome is None else last


def _own_steps(entry: Entry, step: int) -> int:
    """Steps that the trial itself has done, without those of the trial that it continues."""
    first = first_step(entry.origin)
    return max(step - first, 0)
