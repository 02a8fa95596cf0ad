"""Any of Optuna's samplers as a sampler of a search, with a study in memory that it looks at.

The study says of a stopped trial what it would have reached (`perft.selection.full_length`): as
good as the trials that went on, if it is, and not as good only because it is shorter.
"""

import math

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import TrialState, create_trial

from perft.errors import SearchError
from perft.searching.objectives import ACCURACY, FRONT
from perft.searching.sampling.quiet import quiet_optuna
from perft.searching.sampling.sampler import Draft, Sampling
from perft.selection.full_length import FullLength
from perft.trial import Outcome, Report

PROPOSALS, DRAWS = 16, 10_000
"""Proposals above the limit on activated parameters after which random draws take their place, and
random draws after which a search gives up."""


class OptunaSampler:
    """A `Sampler` that asks one of Optuna's.

    Args:
        sampling: what the search draws.
        sampler: Optuna's sampler.
    """

    def __init__(self, sampling: Sampling, sampler: BaseSampler) -> None:
        self._sampling = sampling
        self._aims = 2 if sampling.objective == FRONT else 1
        with quiet_optuna():
            self.study = optuna.create_study(sampler=sampler, directions=["minimize"] * self._aims)
            self._random = optuna.create_study(sampler=RandomSampler(seed=sampling.seed))
        self._trials: dict[int, tuple[int, Draft]] = {}  # Optuna's numbers, by the search's
        self._curves: dict[int, list[Report]] = {}

    def draw(self, number: int) -> Draft:
        """The next trial, which starts now.

        Raises:
            SearchError: if none is within the limit on activated parameters.
        """
        for _ in range(PROPOSALS):
            trial, draft = self._ask(self.study)
            if self._is_allowed(draft):
                self._start(number, trial.number, draft)
                return draft
            self.study.tell(trial, state=TrialState.FAIL)
        for _ in range(DRAWS):
            _, draft = self._ask(self._random)
            if self._is_allowed(draft):
                self.given(number, draft)
                return draft
        raise SearchError(
            f"none of {DRAWS:,} trials that the space has drawn is within the limit on activated "
            "parameters; raise --max-activated"
        )

    def given(self, number: int, draft: Draft) -> None:
        """Notes that a trial which it did not draw starts now."""
        self.study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=dict(draft.params),
                distributions=dict(draft.distributions),
            )
        )
        self._start(number, len(self.study.get_trials(deepcopy=False)) - 1, draft)

    def reported(self, number: int, report: Report) -> None:
        """Notes a report, at a rung or at full length."""
        self._curves[number].append(report)

    def ended(self, number: int, outcome: Outcome) -> None:
        """Notes how a trial ended, after its last report."""
        known, draft = self._trials[number]
        size = self._sampling.size(draft.config.adapter)
        if outcome == "failed" or not self._curves[number] or size is None:
            self.study.tell(known, state=TrialState.FAIL)
            return
        values = [self._value(self._curves[number][-1]), math.log(size.activated)]
        self.study.tell(known, values[: self._aims])

    def _ask(self, study: optuna.Study) -> tuple[optuna.Trial, Draft]:
        with quiet_optuna():
            trial = study.ask()
            return trial, Draft.of(self._sampling.draw(trial), trial)

    def _is_allowed(self, draft: Draft) -> bool:
        return self._sampling.allows(self._sampling.size(draft.config.adapter))

    def _start(self, number: int, known: int, draft: Draft) -> None:
        self._trials[number] = known, draft
        self._curves[number] = []

    def _value(self, report: Report) -> float:
        """What the trial reaches at full length; less is better."""
        full_length = FullLength(self._curves.values(), self._sampling.max_steps)
        if self._sampling.objective == ACCURACY:
            return -full_length.objective(report)
        return full_length.log_loss(report)[0]
