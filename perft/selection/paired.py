"""Tests whether two adapters differ on the same examples: the exact McNemar test.

Invariant: examples that both answer rightly, or both wrongly, do not enter the test.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from perft.selection.interval import CONFIDENCE

Verdict = Literal["better", "worse", "noise"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One adapter against another on the same examples.

    Attributes:
        difference: the first one's accuracy less the second's, in [-1, 1].
        only_first: examples that the first alone answers rightly.
        only_second: examples that the second alone answers rightly.
        p_value: probability of a split at least as uneven if both were equally good.
        verdict: the first against the second at 95% confidence; "noise" if neither is better.
    """

    difference: float
    only_first: int
    only_second: int
    p_value: float
    verdict: Verdict


def compare(first: Sequence[bool], second: Sequence[bool]) -> Comparison:
    """Compares which examples two adapters answered rightly, in the same order; at least one."""
    assert len(first) == len(second), "both are scored on the same examples"
    only_first = sum(a and not b for a, b in zip(first, second, strict=True))
    only_second = sum(b and not a for a, b in zip(first, second, strict=True))
    p_value = mcnemar(only_first, only_second)
    verdict: Verdict = "noise"
    if p_value < 1 - CONFIDENCE:
        verdict = "better" if only_first > only_second else "worse"
    return Comparison(
        difference=(only_first - only_second) / len(first),
        only_first=only_first,
        only_second=only_second,
        p_value=p_value,
        verdict=verdict,
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value of the exact McNemar test, a sign test on the discordant examples.

    Source: Q. McNemar, Note on the sampling error of the difference between correlated proportions
    or percentages, Psychometrika 12 (1947); exact by the binomial distribution.
    """
    count, least = only_first + only_second, min(only_first, only_second)
    term = total = 1  # binomial(count, k), summed up to k = least, in integers
    for k in range(1, least + 1):
        term = term * (count - k + 1) // k
        total += term
    return min(1.0, 2 * total / (1 << count))
