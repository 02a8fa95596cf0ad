"""Keeps at every rung the trials that may be on the Pareto front."""

from collections import defaultdict

from perft.searching.pruning.dominance import Dominance
from perft.searching.pruning.pruners import RungReport

STRICT = 40
"""Trials that have reported, until which one that dominates another is enough to stop it."""

LENIENCY = 0.15
"""After that, the share of those at its rung that may dominate a trial that goes on.

A loss at a rung tells only roughly which trial ends on the front. A short search finds more if it
is strict, and draws the more trials; a long one that stays strict never finds some of the front.
`benchmarks/replay.py` measures both.
"""


class FrontPruner:
    """Stops a trial that too many of those at its rung so far dominate.

    Another trial dominates it by a validation loss and activated parameters that are at most its
    own, and not both equal.
    """

    def __init__(self) -> None:
        self._trials: set[int] = set()
        self._seen: defaultdict[int, Dominance] = defaultdict(Dominance)  # by step of the rung

    def stops(self, at: RungReport) -> bool:
        """Whether too many dominate the trial."""
        self._trials.add(at.number)
        seen = self._seen[at.report.step]
        point = at.report.val_loss, at.size.activated
        may = LENIENCY * len(seen) if len(self._trials) > STRICT else 0
        stopped = seen.dominators(*point) > may
        seen.add(*point)
        return stopped
