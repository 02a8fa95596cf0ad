"""Notes on fronts that do not tell their trials apart.

A table of percentages looks the same whether the trials learned something or nothing.
"""

from collections.abc import Sequence
from itertools import pairwise

from perft.selection.confirm import Confirmed, confirmed
from perft.selection.front import best, complete, is_scored, pareto_front, size_and_report
from perft.trial import TrialResult


def remarks(results: Sequence[TrialResult]) -> list[str]:
    """Notes on the front of a search, which is not empty, a line each; mostly none."""
    return [*_of_scores(results), *_of_means(results)]


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
