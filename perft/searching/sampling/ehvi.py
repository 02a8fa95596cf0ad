"""The sampler `ehvi`: proposes the trial that is expected to gain the front the most.

The activated parameters of a trial are known before it starts; what it will score is predicted by a
Gaussian process over the space's parameters and the logarithm of the activated ones. Of candidates
that are drawn at random, the one is proposed with the greatest expected gain of hypervolume.

A space's prior is weighed in as by Hvarfner et al. (piBO, ICLR 2022, equation 6): the gain is
multiplied by the prior to a power that falls with the number of trials that have ended. So a prior
that is wrong costs some trials, and the search finds what is good all the same.

A report at a rung counts as what the trial would reach (`perft.selection.full_length`), but as seen
after a shorter training: the length is one more input of the process, which finds out how much such
reports say about the end.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from perft.searching.objectives import FRONT
from perft.searching.sampling.candidates import Candidate, Candidates
from perft.searching.sampling.expected_gain import expected_gain, expected_improvement
from perft.searching.sampling.gaussian_process import Array, GaussianProcess
from perft.searching.sampling.sampler import Draft, Sampling
from perft.selection.full_length import FullLength
from perft.trial import Outcome, Report, TrialConfig

STARTUP_TRIALS = 6
"""Trials that end before values are predicted; until then, proposals are random draws."""
CONFIDENCE = 6.0
"""Ended trials against which a prior counts as much as itself: piBO's beta."""
FRESH, KEPT = 32, 224
"""New draws for each proposal, and candidates kept from the one before, the best of them."""
MOST = 160
"""Trials that predictions are based on at most, besides the front and those that run."""
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
    def last_loss(self) -> float:
        """The loss of its last report."""
        return self.reports[-1].val_loss

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
        self._random = np.random.default_rng(sampling.seed)
        self._kept: list[Candidate] = []
        self._seen: dict[int, _Seen] = {}
        self._proposed: set[TrialConfig] = set()

    def given(self, number: int, draft: Draft) -> None:
        """Notes that a trial which it did not draw starts now."""
        if candidate := self._candidates.of(draft):
            self._start(number, candidate)

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
        ended = sum(each.outcome is not None for each in self._seen.values())
        if ended < STARTUP_TRIALS:
            chosen = self._random_draw()
        else:
            kept = [each for each in self._kept if each.draft.config not in self._proposed]
            pool = kept + self._candidates.fresh(FRESH, self._proposed)
            gains = self._gains(pool) * self._priors(pool) ** (CONFIDENCE / ended)
            order = np.argsort(-gains, kind="stable")
            chosen = pool[order[0]]
            self._kept = [pool[index] for index in order[1 : KEPT + 1]]
        self._start(number, chosen)
        return chosen.draft

    def _random_draw(self) -> Candidate:
        """A candidate, likelier the more the prior expects of it."""
        if self._sampling.draw.space.prior is None:
            return self._candidates.fresh(1, self._proposed)[0]
        pool = self._candidates.fresh(FRESH, self._proposed)
        priors = self._priors(pool)
        return pool[self._random.choice(len(pool), p=priors / priors.sum())]

    def _priors(self, pool: Sequence[Candidate]) -> Array:
        """By candidate, what the space's prior expects of it, relative to the best of them."""
        found = [self._sampling.draw.expects(each.draft.config) for each in pool]
        return np.array(found) / max(found)

    def _start(self, number: int, candidate: Candidate) -> None:
        is_own = number >= 0
        self._seen[number] = _Seen(candidate, is_own)
        if is_own:
            self._proposed.add(candidate.draft.config)

    def _gains(self, pool: Sequence[Candidate]) -> Array:
        """By candidate, what it is expected to gain."""
        curves = [each.reports for each in self._seen.values()]
        full_length = FullLength(curves, self._sampling.max_steps)
        known = self._evidence()
        values, variances = _values(known, full_length)
        rows = _rows(known)
        if len(curves) >= GROWTH * self._tuned_at:
            self._tuned_at = len(curves)
            self._process.tune(rows, values, variances)
        self._process.condition(rows, values, variances)
        blind = [each for each in self._seen.values() if not (each.reports or each.outcome)]
        if blind:  # they count as what is predicted of them, so that the next trial is another one
            believed, _ = self._process.predict(_rows(blind))
            rows, values = np.concatenate([rows, _rows(blind)]), np.concatenate([values, believed])
            variances = np.concatenate([variances, np.zeros(len(blind))])
            self._process.condition(rows, values, variances)
        means, deviations = self._process.predict(np.array([each.row for each in pool]))
        counts = [each.counts for each in [*known, *blind]]
        worst = float(values.min())
        if self._sampling.objective != FRONT:
            return expected_improvement(means, deviations, values[counts].max(initial=worst))
        sizes = np.array([each.row[-1] for each in pool])
        trials = list(zip(rows[counts, -1], values[counts], strict=True))
        return expected_gain(sizes, means, deviations, trials, (1.0 + MARGIN, worst))

    def _evidence(self) -> list[_Seen]:
        """The trials that predictions are based on: of many, the front and some of the rest."""
        known = [each for each in self._seen.values() if each.is_evidence]
        every = -(-len(known) // MOST)
        front = _front(known) if every > 1 else []
        return [
            each
            for index, each in enumerate(known)
            if index % every == 0 or each.outcome is None or each in front
        ]


def _front(trials: Sequence[_Seen]) -> list[_Seen]:
    """The full-length trials of which each has a lower loss than all smaller ones."""
    complete = [each for each in trials if each.outcome == "complete"]
    found: list[_Seen] = []
    for each in sorted(complete, key=lambda each: (each.candidate.row[-1], each.last_loss)):
        if not found or each.last_loss < found[-1].last_loss:
            found.append(each)
    return found


def _values(known: Sequence[_Seen], full_length: FullLength) -> tuple[Array, Array]:
    """What trials reach at full length, more being better, and its variance: each (trials)."""
    found = [
        full_length.log_loss(each.reports[-1]) if each.outcome != "failed" else None
        for each in known
    ]
    worst = max((loss for loss, _ in filter(None, found)), default=0.0)
    pairs = np.array([each or (worst, 0.0) for each in found])
    return -pairs[:, 0], pairs[:, 1] ** 2


def _rows(seen: Sequence[_Seen]) -> Array:
    return np.array([each.candidate.row for each in seen])
