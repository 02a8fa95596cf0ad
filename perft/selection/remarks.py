"""Notes on fronts that do not tell their trials apart.

A table of percentages looks the same whether the trials learned something or nothing.
"""

from collections.abc import Sequence
from itertools import pairwise

from perft.base_score import BaseScore
from perft.selection.confirm import Confirmed, confirmed
from perft.selection.front import best, complete, is_scored, pareto_front, size_and_report
from perft.trial import TrialResult


def remarks(results: Sequence[TrialResult], base: BaseScore | None = None) -> list[str]:
    """Notes on the front of a search, which is not empty, a line each; mostly none.

    Args:
        results: all trials of the search.
        base: the score of the base alone; None if it is not known.
    """
    return [*_of_scores(results), *_of_means(results), *_of_base(results, base)]


def _of_base(results: Sequence[TrialResult], base: BaseScore | None) -> list[str]:
    """Which trials of the front are no better than no adapter at all."""
    if base is None or base.accuracy is None or not is_scored(complete(results)):
        return []
    least, front = base.accuracy, pareto_front(results)
    worse = [str(t.number) for t in front if size_and_report(t)[1].accuracy <= least]
    if not worse:
        return []
    which = f"trial {worse[0]} is" if len(worse) == 1 else f"trials {', '.join(worse)} are"
    return [f"note: {which} no more accurate than the base alone, which needs no adapter"]


def _of_scores(results: Sequence[TrialResult]) -> list[str]:
    trials, front = complete(results), pareto_front(results)
    if not is_scored(trials):
        return []
    top = best(front)
    if size_and_report(top)[1].correct == 0:
        return [
            "note: no full-length trial answers a single validation example rightly, so that best "
            "and knee are the smallest adapter and nothing more; train longer (--max-steps), or "
            "see in the predictions what is answered"
        ]
    if len(trials) == 1:
        return ["note: one trial ran to its full length; there is nothing to compare it with"]
    if len({size_and_report(trial)[1].accuracy for trial in trials}) == 1:
        return [
            f"note: all {len(trials)} full-length trials are equally accurate, as they are when "
            "every answer is the same; the front is the smallest of them"
        ]
    return []


def _of_means(results: Sequence[TrialResult]) -> list[str]:
    """Where the means over other seeds turn the front round."""
    known = list(confirmed(results).values())
    turned = [
        f"trial {larger.trial} is no better than the smaller trial {smaller.trial}"
        for smaller, larger in pairwise(known)
        if _is_no_better(larger, smaller)
    ]
    return [f"note: on average over other seeds, {' and '.join(turned)}"] if turned else []


def _is_no_better(larger: Confirmed, smaller: Confirmed) -> bool:
    return bool(larger.values and smaller.values) and larger.mean <= smaller.mean
