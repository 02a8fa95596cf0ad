"""Reports on scored splits: accuracies with intervals, their mean, comparisons, a table.

Invariant: wherever an accuracy stands, its 95% interval and its protocol stand beside it.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from rich.table import Table

from perft.files import Json
from perft.selection.interval import CONFIDENCE, wilson
from perft.selection.paired import Comparison, compare
from perft.tasks import Overlap


@dataclass(frozen=True, kw_only=True)
class SplitScore:
    """One adapter on one split.

    Attributes:
        split: the split's name.
        protocol: how it was scored.
        right: by example, whether it was answered rightly; at least one.
        overlap: its overlap with the training data; None for a split of that.
        against: by example, whether the other adapter answered rightly; empty without one.
    """

    split: str
    protocol: str
    right: Sequence[bool]
    overlap: Overlap | None = None
    against: Sequence[bool] = ()

    @property
    def accuracy(self) -> float:
        """Share of right answers, in [0, 1]."""
        return sum(self.right) / len(self.right)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the accuracy."""
        return wilson(sum(self.right), len(self.right))

    @property
    def comparison(self) -> Comparison | None:
        """The adapter against the other one, if there is one."""
        return compare(self.right, self.against) if self.against else None

    def to_json(self) -> dict[str, Json]:
        """The score as JSON values."""
        low, high = self.interval
        found: dict[str, Json] = {
            "split": self.split,
            "protocol": self.protocol,
            "correct": sum(self.right),
            "scored": len(self.right),
            "accuracy": self.accuracy,
            "low": low,
            "high": high,
        }
        if self.overlap is not None:
            found["overlap"] = dataclasses.asdict(self.overlap)
        if comparison := self.comparison:
            accuracy = sum(self.against) / len(self.against)
            found["against"] = {**dataclasses.asdict(comparison), "accuracy": accuracy}
        return found


@dataclass(frozen=True, kw_only=True)
class MacroAverage:
    """The mean accuracy of several test splits, each of equal weight, with its 95% interval."""

    splits: int
    accuracy: float
    low: float
    high: float


def macro_average(scores: Sequence[SplitScore]) -> MacroAverage:
    """The mean accuracy of independent splits, at least one.

    The interval is the normal approximation. Each split's variance is that of the Agresti-Coull
    estimate, so that a split of all right or all wrong answers is not taken for certain.
    """
    mean = sum(score.accuracy for score in scores) / len(scores)
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    shares = [
        ((sum(score.right) + z * z / 2) / (len(score.right) + z * z), len(score.right) + z * z)
        for score in scores
    ]
    error = z * math.sqrt(math.fsum(p * (1 - p) / n for p, n in shares)) / len(scores)
    return MacroAverage(
        splits=len(scores),
        accuracy=mean,
        low=max(0.0, mean - error),
        high=min(1.0, mean + error),
    )


def scores_table(scores: Sequence[SplitScore], average: MacroAverage | None) -> Table:
    """The scores for a screen, with comparisons where there are any."""
    compared = any(score.against for score in scores)
    table = Table(box=None, header_style="bold", pad_edge=False)
    more = ("other", "gain", "p", "verdict") if compared else ("correct",)
    for title in ("split", "accuracy", "95% interval", "seen", *more):
        table.add_column(title, justify="left" if title == "split" else "right", no_wrap=True)
    for score in scores:
        low, high = score.interval
        seen = f"{score.overlap.seen / score.overlap.examples:.1%}" if score.overlap else ""
        table.add_row(
            score.split,
            f"{score.accuracy:.1%}",
            f"{100 * low:.1f}-{100 * high:.1f}",
            seen,
            *(_compared(score) if compared else (f"{sum(score.right)}/{len(score.right)}",)),
        )
    if average:
        interval = f"{100 * average.low:.1f}-{100 * average.high:.1f}"
        table.add_row(f"mean of {average.splits} tests", f"{average.accuracy:.1%}", interval)
    return table


def _compared(score: SplitScore) -> tuple[str, ...]:
    comparison = score.comparison
    if comparison is None:
        return ()
    return (
        f"{sum(score.against) / len(score.against):.1%}",
        f"{comparison.difference:+.1%}",
        f"{comparison.p_value:.1g}",
        comparison.verdict,
    )
