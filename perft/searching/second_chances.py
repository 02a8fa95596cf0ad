"""Which stopped trials are worth continuing, once no new ones are drawn."""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate

from perft.trial import TrialResult

TRIALS_PER_CHANCE = 8
"""By default a search continues one stopped trial for so many that it draws. They run where the
last trials leave room, and cost a twentieth of the time (`benchmarks/replay.py`)."""


def default_chances(num_trials: int) -> int:
    """How many stopped trials a search that draws `num_trials` continues by default."""
    return num_trials // TRIALS_PER_CHANCE


def most_promising(results: Sequence[TrialResult], taken: Collection[int]) -> list[TrialResult]:
    """The stopped trials, the most promising first.

    A trial is the more promising, the less its loss was above the lowest that any trial of at most
    its activated parameters had at the same rung; of equal ones, the one that got farther.

    Args:
        results: all trials that have ended.
        taken: numbers of those that were continued before.
    """
    lowest = _lowest_losses(results)

    def gap(each: TrialResult) -> float:
        """How far the loss is above the lowest at its rung of any trial that is not larger."""
        assert each.size is not None, "a trial that has reported has a size"
        last = each.reports[-1]
        sizes, losses = lowest[last.step]
        return last.val_loss / losses[bisect_right(sizes, each.size.activated) - 1] - 1

    stopped = [
        each
        for each in results
        if each.outcome == "pruned" and each.number not in taken and each.reports
    ]
    return sorted(stopped, key=lambda each: (gap(each), -each.reports[-1].step, each.number))


def _lowest_losses(results: Sequence[TrialResult]) -> dict[int, tuple[list[int], list[float]]]:
    """By rung, activated parameters ascending, and the lowest loss of trials up to each."""
    at: dict[int, list[tuple[int, float]]] = {}
    for each in results:
        for report in each.reports:
            assert each.size is not None, "as above"
            at.setdefault(report.step, []).append((each.size.activated, report.val_loss))
    found = {}
    for step, pairs in at.items():
        pairs.sort()
        sizes, losses = zip(*pairs, strict=True)
        found[step] = list(sizes), list(accumulate(losses, min))
    return found
