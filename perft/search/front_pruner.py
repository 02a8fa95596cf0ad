"""Keeps at every rung the trials that may be on the Pareto front."""

from collections import defaultdict

from perft.search.dominance import Dominance
from perft.search.pruners import RungReport

LENIENCY = 20
"""A trial goes on if at most one in this many of those at its rung dominate it.

Without this, a trial that ends on the front though another dominated it at a rung is lost: with
hundreds of trials a search would no longer come closer to the front than one without pruning.
`benchmarks/replay.py` compares other values.
"""


class FrontPruner:
    """Stops a trial that more than one in `LENIENCY` of those at its rung so far dominate.

    Another trial dominates it by a validation loss and activated parameters that are at most its
    own, and not both equal. While fewer than `LENIENCY` have been there, one such is enough.
    """

    def __init__(self) -> None:
        self._seen: defaultdict[int, Dominance] = defaultdict(Dominance)  # by step of the rung

    def stops(self, at: RungReport) -> bool:
        """Whether too many dominate the trial."""
        seen = self._seen[at.report.step]
        point = at.report.val_loss, at.size.activated
        stopped = seen.dominators(*point) * LENIENCY > len(seen)
        seen.add(*point)
        return stopped
