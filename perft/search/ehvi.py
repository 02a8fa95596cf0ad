"""The sampler `ehvi`: proposes the trial that is expected to gain the front the most.

The activated parameters of a trial are known before it starts; what it will score is predicted by a
Gaussian process over the space's parameters and the logarithm of the activated ones. Of candidates
that are drawn at random, the one is proposed with the greatest expected gain of hypervolume.

A report at a rung counts as what the trial would reach (`perft.selection.full_length`), but as seen
after a shorter training: the length is one more input of the process, which finds out how much such
reports say about the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from perft.search.candidates import Candidate, Candidates
from perft.search.expected_gain import expected_gain, expected_improvement
from perft.search.gaussian_process import Array, GaussianProcess
from perft.search.objectives import FRONT
from perft.search.sampling import Draft, Sampling
from perft.selection.full_length import FullLength
from perft.trial import Outcome, Report

STARTUP_TRIALS = 6
"""Trials that end before values are predicted; until then, proposals are random draws."""
FRESH, KEPT = 32, 224
"""New draws for each proposal, and candidates kept from the one before, the best of them."""
MOST = 200
"""Ended trials that predictions are based on at most, besides the front."""
GROWTH = 1.1
"""The hyperparameters are chosen again when there are this many times as many trials."""
MARGIN = 0.05
"""How far the area that counts reaches beyond the largest adapter, as a share of log sizes."""


@dataclass(eq=False)
class _Seen:
    """A trial that was proposed or given; of this search, or of an earlier one."""

    candidate: Candidate
    is_own: bool
    reports: list[Report] = field(default_factory=list)
    outcome: Outcome | None = None

    @property
    def is_evidence(self) -> bool:
        """Whether anything is known of how good it is."""
        return bool(self.reports) or self.outcome == "failed"

    @property
    def counts(self) -> bool:
        """Whether a trial has to be better than this one to gain anything."""
        return self.is_own and self.outcome in (None, "complete")


class Ehvi:
    """See the module's docstring; a `Sampler`."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._candidates = Candidates(sampling)
        self._process = GaussianProcess(self._candidates.columns)
        self._tuned_at = 0
        self._kept: list[Candidate] = []
        self._seen: dict[int, _Seen] = {}

    def given(self, number: int, draft: Draft) -> None:
        """Notes that a trial which it did not draw starts now."""
        if candidate := self._candidates.of(draft):
            self._seen[number] = _Seen(candidate, number >= 0)

    def reported(self, number: int, report: Report) -> None:
        """Notes a report, at a rung or at full length."""
        if number in self._seen:
            self._seen[number].reports.append(report)

    def ended(self, number: int, outcome: Outcome) -> None:
        """Notes how a trial ended, after its last report."""
        if number in self._seen:
            self._seen[number].outcome = outcome

    def draw(self, number: int) -> Draft:
        """The next trial, which starts now."""
        known = {each.candidate.draft.config for each in self._seen.values() if each.is_own}
        ended = sum(each.outcome is not None for each in self._seen.values())
        if ended < STARTUP_TRIALS:
            chosen = self._candidates.fresh(1, known)[0]
        else:
            kept = [each for each in self._kept if each.draft.config not in known]
            pool = kept + self._candidates.fresh(FRESH, known)
            order = np.argsort(-self._gains(pool), kind="stable")
            chosen = pool[order[0]]
            self._kept = [pool[index] for index in order[1 : KEPT + 1]]
        self._seen[number] = _Seen(chosen, is_own=True)
        return chosen.draft

    def _gains(self, pool: Sequence[Candidate]) -> Array:
        """By candidate, what it is expected to gain."""
        known = self._evidence()
        values, variances = self._values(known)
        rows = _rows(known)
        if len(known) >= GROWTH * self._tuned_at:
            self._tuned_at = len(known)
            self._process.tune(rows, values, variances)
        self._process.condition(rows, values, variances)
        blind = [each for each in self._seen.values() if not (each.reports or each.outcome)]
        if blind:  # they count as what is predicted of them, so that the next trial is another one
            believed, _ = self._process.predict(_rows(blind))
            rows, values = np.concatenate([rows, _rows(blind)]), np.concatenate([values, believed])
            variances = np.concatenate([variances, np.zeros(len(blind))])
            self._process.condition(rows, values, variances)
        counts = [each.counts for each in [*known, *blind]]
        means, deviations = self._process.predict(np.array([each.row for each in pool]))
        worst = float(values.min())
        if self._sampling.objective != FRONT:
            return expected_improvement(means, deviations, values[counts].max(initial=worst))
        sizes = np.array([each.row[-1] for each in pool])
        trials = list(zip(rows[counts, -1], values[counts], strict=True))
        return expected_gain(sizes, means, deviations, trials, (1.0 + MARGIN, worst))

    def _evidence(self) -> list[_Seen]:
        """The trials that predictions are based on."""
        known = [each for each in self._seen.values() if each.is_evidence]
        every = -(-len(known) // MOST)
        return [
            each
            for index, each in enumerate(known)
            if each.outcome in (None, "complete") or index % every == 0
        ]

    def _values(self, known: Sequence[_Seen]) -> tuple[Array, Array]:
        """What trials reach at full length, more being better, and its variance: each (trials)."""
        curves = [each.reports for each in self._seen.values()]
        full_length = FullLength(curves, self._sampling.max_steps)
        found = [
            full_length.log_loss(each.reports[-1]) if each.outcome != "failed" else None
            for each in known
        ]
        worst = max((loss for loss, _ in filter(None, found)), default=0.0)
        pairs = np.array([each or (worst, 0.0) for each in found])
        return -pairs[:, 0], pairs[:, 1] ** 2


def _rows(seen: Sequence[_Seen]) -> Array:
    return np.array([each.candidate.row for each in seen])
