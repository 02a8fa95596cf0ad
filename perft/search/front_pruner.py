"""Keeps at every rung the trials that may be on the Pareto front."""

from collections import defaultdict

from perft.search.dominance import Dominance
from perft.search.pruners import RungReport

LENIENCY = 10
"""In the long run a trial goes on if at most one in this many of those at its rung dominate it."""

STRICT = 50
"""Trials at a rung over which the share of those that may dominate grows to one in `LENIENCY`.

A loss at a rung tells only roughly which trial ends on the front. A short search finds more if it
is strict and draws the more trials; a long one that stays strict never finds some of the front.
`benchmarks/replay.py` measures both.
"""


class FrontPruner:
    """Stops a trial that too many of those at its rung so far dominate.

    Another trial dominates it by a validation loss and activated parameters that are at most its
    own, and not both equal. Of n trials n / `LENIENCY` may, and fewer while n is below `STRICT`:
    none until about the twentieth.
    """

    def __init__(self) -> None:
        self._seen: defaultdict[int, Dominance] = defaultdict(Dominance)  # by step of the rung

    def stops(self, at: RungReport) -> bool:
        """Whether too many dominate the trial."""
        seen = self._seen[at.report.step]
        point = at.report.val_loss, at.size.activated
        stopped = not may_dominate(seen.dominators(*point), len(seen))
        seen.add(*point)
        return stopped


def may_dominate(dominators: int, seen: int) -> bool:
    """Whether a trial goes on that so many of those seen at its rung dominate."""
    return dominators * LENIENCY * STRICT <= seen * min(seen, STRICT)
