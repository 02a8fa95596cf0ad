"""An accuracy and its interval, as an exported folder states them.

Invariant: `low` <= accuracy <= `high`.
"""

from dataclasses import dataclass

from perft.selection import read_scores, wilson
from perft.storage import Storage
from perft.trial import TrialResult


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


def scores_of(search: Storage, trial: TrialResult) -> list[Score]:
    """The trial's accuracies with their intervals, the validation split's first; may be empty."""
    assert trial.last is not None, "a full-length trial has a report"
    counts = {"validation": (trial.last.correct, trial.last.scored)} if trial.last.scored else {}
    counts |= read_scores(search, trial.number)
    scores = []
    for split, (correct, scored) in counts.items():
        low, high = wilson(correct, scored)
        scores.append(Score(split=split, correct=correct, scored=scored, low=low, high=high))
    return scores
