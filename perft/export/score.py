"""An accuracy and its interval, as an exported folder states them.

Invariant: `low` <= accuracy <= `high`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Score:
    """Accuracy on one split.

    Attributes:
        split: the split's name.
        correct: examples answered right.
        scored: examples scored.
        low: lower end of the 95% interval, in [0, 1].
        high: upper end.
    """

    split: str
    correct: int
    scored: int
    low: float
    high: float

    @property
    def accuracy(self) -> float:
        """Share of right answers, in [0, 1]."""
        return self.correct / self.scored if self.scored else 0.0
