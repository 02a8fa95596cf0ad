"""What a search proposes next, and when it has nothing left to propose. No Tune, no clock.

First the sampler's draws, `num_trials` of them. When those are used up, stopped trials get a second
chance: the most promising are continued from where they were stopped. When all trials have ended,
those on the front are trained again with other seeds, if the user asked for it. What the user adds
meanwhile comes before all of that.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from perft.checks import LARGEST_SEED
from perft.files import Json
from perft.packing.messages import Reported
from perft.search.second_chances import most_promising
from perft.selection import pareto_front
from perft.trial import Origin, OriginKind, Outcome, TrialConfig, TrialResult


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial to start.

    Attributes:
        number: its number in the search.
        config: its configuration.
        params: the parameters that it was drawn with; empty for another's.
        origin: where it comes from if the sampler did not draw it.
    """

    number: int
    config: TrialConfig
    params: Mapping[str, Json]
    origin: Origin | None = None


@dataclass(frozen=True)
class _Wanted:
    """A trial that the sampler does not draw, before it has a number."""

    config: TrialConfig
    params: Mapping[str, Json]
    origin: Origin


class Study(Protocol):
    """The trials as a sampler sees them (`perft.search.study`)."""

    def draw(self) -> Trial:
        """The sampler's next trial."""

    def given(
        self, config: TrialConfig, params: Mapping[str, Json], origin: Origin | None
    ) -> Trial:
        """A trial that the sampler did not draw."""

    def reported(self, number: int, reported: Reported) -> None:
        """Notes a report at a rung, after which the trial continues."""

    def ended(self, number: int, outcome: Outcome, last: Reported | None) -> None:
        """Notes how a trial ended, with its last report."""


class Agenda:
    """The trials of one search, from the first proposal to the last end.

    Args:
        study: draws trials, and hears of all.
        num_trials: trials to draw.
        second_chances: stopped trials to continue after that.
        confirmations: trainings with other seeds of each trial on the front.
    """

    def __init__(
        self, study: Study, *, num_trials: int, second_chances: int = 0, confirmations: int = 0
    ) -> None:
        self._study = study
        self._drawn, self._to_draw = 0, num_trials
        self._chances = second_chances
        self._confirmations = confirmations
        self._queue: deque[_Wanted] = deque()
        self._trials: dict[int, Trial] = {}
        self._reports: dict[int, list[Reported]] = {}
        self._results: dict[int, TrialResult] = {}

    @property
    def num_trials(self) -> int:
        """Trials of the whole search, as far as known: those proposed, and those that can be."""
        chances = len(self._second_chances()) if not self._to_draw else 0
        return len(self._trials) + len(self._queue) + self._to_draw + chances

    @property
    def is_over(self) -> bool:
        """Whether all trials have ended and none is left to propose."""
        return len(self._results) == self.num_trials

    def add(self, config: TrialConfig, origin: Origin) -> None:
        """Adds a trial beside those that are drawn; it is the next to be proposed."""
        self._queue.append(_Wanted(config, {}, origin))

    def draw(self, num_trials: int) -> None:
        """Changes how many trials are drawn in all; those that were drawn stay."""
        self._to_draw = max(0, num_trials - self._drawn)

    def close(self) -> None:
        """Proposes nothing more."""
        self._to_draw = self._chances = self._confirmations = 0
        self._queue.clear()

    def next(self) -> Trial | None:
        """The next trial; None if there is none now."""
        if not self._queue and not self._to_draw:
            self._queue.extend(self._second_chances()[:1])
            self._chances -= len(self._queue)
        if self._queue:
            wanted = self._queue.popleft()
            trial = self._study.given(wanted.config, wanted.params, wanted.origin)
        elif self._to_draw:
            self._to_draw, self._drawn = self._to_draw - 1, self._drawn + 1
            trial = self._study.draw()
        else:
            return None
        self._trials[trial.number], self._reports[trial.number] = trial, []
        return trial

    def origin_of(self, number: int) -> Origin | None:
        """Where a proposed trial comes from; None if the sampler drew it."""
        return self._trials[number].origin

    def reported(self, number: int, reported: Reported) -> None:
        """Notes a report after which the trial continues; repeated ones change nothing."""
        if any(known.report.step == reported.report.step for known in self._reports[number]):
            return
        self._reports[number].append(reported)
        self._study.reported(number, reported)

    def ended(self, number: int, outcome: Outcome, last: Reported | None = None) -> None:
        """Notes that a trial has ended; of several calls for one trial, the first counts.

        Args:
            number: the trial's.
            outcome: how.
            last: its last report; None if `reported` was called for all.
        """
        if number in self._results:
            return
        reports = self._reports.pop(number) + ([last] if last else [])
        trial = self._trials[number]
        self._results[number] = TrialResult(
            number=number,
            config=trial.config,
            outcome=outcome,
            reports=tuple(each.report for each in reports),
            size=reports[-1].size if reports else None,
            params=trial.params,
            origin=trial.origin,
        )
        self._study.ended(number, outcome, reports[-1] if reports else None)
        if self._confirmations and self.is_over:
            self._queue.extend(self._to_confirm())
            self._confirmations = 0

    def _second_chances(self) -> list[_Wanted]:
        """The stopped trials to continue now, the most promising first."""
        if not self._chances:
            return []
        taken = {
            trial.origin.trial
            for trial in self._trials.values()
            if trial.origin and trial.origin.kind == "continue" and trial.origin.trial is not None
        }
        found = most_promising(list(self._results.values()), taken)[: self._chances]
        return [_Wanted(each.config, each.params, _origin("continue", each)) for each in found]

    def _to_confirm(self) -> list[_Wanted]:
        return [
            _Wanted(_with_seed(trial.config, 1 + repeat), {}, _origin("confirm", trial))
            for trial in pareto_front(list(self._results.values()))
            for repeat in range(self._confirmations)
        ]


def _origin(kind: OriginKind, other: TrialResult) -> Origin:
    step = other.last.step if other.last and kind != "confirm" else 0
    return Origin(kind=kind, trial=other.number, step=step)


def _with_seed(config: TrialConfig, offset: int) -> TrialConfig:
    """The configuration with the seed that is `offset` after its own."""
    seed = (config.training.seed + offset) % (LARGEST_SEED + 1)
    return replace(config, training=replace(config.training, seed=seed))
