"""Decides which worker group scores which of the chosen trials, and the base alone.

Invariant: a share stays with its group until it is scored, also if the group dies meanwhile.
"""

from collections.abc import Iterable

from perft.config import TrainingConfig
from perft.packing.messages import Scored, ToScore


class Scoring:
    """What is left to score, by group, and the scores so far.

    Args:
        groups: number of worker groups.
    """

    def __init__(self, groups: int) -> None:
        self._groups = groups
        self._left: dict[int, list[int]] = {}
        self._base: tuple[int, TrainingConfig] | None = None
        self._wanted = ToScore()
        self.scored = Scored()

    def ask(self, wanted: ToScore) -> None:
        """Shares trials among the groups, then the base; scores of earlier calls are forgotten."""
        trials, groups = wanted.trials, self._groups
        self._wanted, self.scored = wanted, Scored()
        self._left = {group: list(trials[group::groups]) for group in range(groups)}
        self._base = None if wanted.base is None else (len(trials) % groups, wanted.base)

    def share(self, group: int, absent: Iterable[int]) -> ToScore:
        """What a group is to score: its own share, or else that of an absent group."""
        shares = (self._share_of(each) for each in (group, *absent))
        return next(filter(None, shares), ToScore())

    def take(self, scored: Scored) -> None:
        """Takes scores that a group was asked for; the same may arrive twice."""
        self.scored = Scored(
            trials={**self.scored.trials, **scored.trials}, base=scored.base or self.scored.base
        )
        for left in self._left.values():
            left[:] = [trial for trial in left if trial not in scored.trials]
        if scored.base is not None:
            self._base = None

    @property
    def is_done(self) -> bool:
        """Whether everything is scored."""
        trials = self.scored.trials.keys() >= set(self._wanted.trials)
        return trials and (self._wanted.base is None or self.scored.base is not None)

    def _share_of(self, group: int) -> ToScore:
        owner, training = self._base or (None, None)
        return ToScore(
            trials=tuple(self._left.get(group, ())), base=training if owner == group else None
        )
