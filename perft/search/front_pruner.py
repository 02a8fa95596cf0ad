"""Keeps at every rung the trials that may be on the Pareto front."""

from collections import defaultdict

from perft.search.dominance import Dominance
from perft.search.pruners import RungReport

LENIENCY = 15
"""In the long run a trial goes on if at most so many percent of those at its rung dominate it."""

STRICT = 30
"""Trials at a rung over which that share grows from 0 to `LENIENCY`.

A loss at a rung tells only roughly which trial ends on the front. A short search finds more if it
is strict and draws the more trials; a long one that stays strict never finds some of the front.
`benchmarks/replay.py` measures both.
"""


class FrontPruner:
    """Stops a trial that too many of those at its rung so far dominate.

    Another trial dominates it by a validation loss and activated parameters that are at most its
    own, and not both equal. `LENIENCY` percent of those at the rung may, and fewer while they are
    less than `STRICT`: none before the fifteenth.
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
    return 100 * STRICT * dominators <= LENIENCY * seen * min(seen, STRICT)
