"""What a search proposes next, and when it has nothing left to propose. No Tune, no clock.

First the sampler's draws, `num_trials` of them. When those are used up, stopped trials get a second
chance: the most promising are continued from where they were stopped. When all trials have ended,
those on the front are trained again with other seeds, if the user asked for it. What the user adds
meanwhile comes before all of that.

A bound on the steps of all trials is kept whatever happens: a trial is proposed only if its full
length fits beside what has been trained and what the running trials may still train.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from perft.checks import LARGEST_SEED
from perft.files import Json
from perft.packing.messages import Reported
from perft.searching.second_chances import most_promising
from perft.selection import pareto_front
from perft.trial import (
    Origin,
    OriginKind,
    Outcome,
    TrialConfig,
    TrialResult,
    first_step,
    is_confirmation,
)


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
    """The trials as a sampler sees them (`perft.searching.sampling.study`)."""

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
        max_steps: steps of a full-length trial.
        second_chances: stopped trials to continue after that.
        confirmations: trainings with other seeds of each trial on the front.
        max_steps_total: most steps of all trials together; None for any number.
    """

    def __init__(
        self,
        study: Study,
        *,
        num_trials: int,
        max_steps: int,
        second_chances: int = 0,
        confirmations: int = 0,
        max_steps_total: int | None = None,
    ) -> None:
        self._study = study
        self._drawn, self._to_draw = 0, num_trials
        self._chances = second_chances
        self._confirmations = confirmations
        self._max_steps, self._max_steps_total = max_steps, max_steps_total
        self._reserved = 0  # steps that ended trials have done, and running ones may do
        self._is_open = True
        self._no_chance: set[int] = set()
        self._promising: list[TrialResult] | None = None  # None if it has to be found again
        self._queue: deque[_Wanted] = deque()
        self._trials: dict[int, Trial] = {}
        self._reports: dict[int, list[Reported]] = {}
        self._results: dict[int, TrialResult] = {}

    @property
    def num_trials(self) -> int:
        """Trials of the search, as far as known: those proposed, and those that can be now."""
        return len(self._trials) + self._can_propose()

    @property
    def proposed(self) -> int:
        """How many trials have been proposed."""
        return len(self._trials)

    @property
    def to_come(self) -> int:
        """Trials left to propose, also those for which there is no room now."""
        chances = len(self._second_chances())
        return len(self._queue) + self._to_draw + chances if self._is_open else 0

    @property
    def running(self) -> int:
        """How many trials have been proposed and have not ended."""
        return len(self._reports)

    @property
    def is_over(self) -> bool:
        """Whether all trials have ended and none can be proposed."""
        return not self._reports and not self._can_propose()

    def add(self, config: TrialConfig, origin: Origin) -> None:
        """Adds a trial beside those that are drawn; it is the next to be proposed."""
        self._queue.append(_Wanted(config, {}, origin))

    def draw(self, num_trials: int) -> None:
        """Changes how many trials are drawn in all; those that were drawn stay."""
        self._to_draw = max(0, num_trials - self._drawn)

    def bound(self, max_steps_total: int | None) -> None:
        """Changes the most steps of all trials together."""
        self._max_steps_total = max_steps_total

    def abandon(self, number: int) -> None:
        """Gives a trial no second chance, or no other one."""
        self._no_chance.add(number)
        self._promising = None

    def close(self) -> None:
        """Proposes nothing more, until it is opened."""
        self._is_open = False

    def open(self) -> None:
        """Proposes again what there is to propose."""
        self._is_open = True
        self._confirm()

    def next(self) -> Trial | None:
        """The next trial; None if there is none now."""
        if not self._can_propose():
            return None
        if not self._queue and self._draws_are_over():
            chance = self._second_chances()[0]
            self._queue.append(chance)
            self._chances -= 1
            assert chance.origin.trial is not None, "it continues one"
            self.abandon(chance.origin.trial)
        if self._queue:
            wanted = self._queue.popleft()
            trial = self._study.given(wanted.config, wanted.params, wanted.origin)
        else:
            self._to_draw, self._drawn = self._to_draw - 1, self._drawn + 1
            trial = self._study.draw()
        self._trials[trial.number], self._reports[trial.number] = trial, []
        self._reserved += _length(trial.config, trial.origin)
        return trial

    def is_running(self, number: int) -> bool:
        """Whether a trial has been proposed and has not ended."""
        return number in self._reports

    def last_step(self, number: int) -> int | None:
        """Step of a trial's last report; 0 if it runs and has none; None if it has no adapter."""
        if number in self._reports:
            reports = self._reports[number]
            return reports[-1].report.step if reports else 0
        result = self._results.get(number)
        return result.last.step if result and result.last else None

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
        self._promising = None
        self._study.ended(number, outcome, reports[-1] if reports else None)
        done = max(reports[-1].report.step - first_step(trial.origin), 0) if reports else 0
        self._reserved += done - _length(trial.config, trial.origin)
        self._confirm()

    def _can_propose(self) -> int:
        """How many trials can be proposed now: those for whose full length there is room."""
        if not self._is_open:
            return 0
        room, count = self._room(), 0
        for wanted in (*self._queue, *self._second_chances()):
            room -= _length(wanted.config, wanted.origin)
            if room < 0:
                return count
            count += 1
        draws = self._to_draw if math.isinf(room) else int(room // self._max_steps)
        return count + min(self._to_draw, draws)

    def _room(self) -> float:
        """Steps that no trial has done, and none that runs may do."""
        return math.inf if self._max_steps_total is None else self._max_steps_total - self._reserved

    def _draws_are_over(self) -> bool:
        """Whether no more are drawn: there is no room, and nothing runs that may make some."""
        return not self._to_draw or (not self._reports and self._room() < self._max_steps)

    def _second_chances(self) -> list[_Wanted]:
        """The stopped trials to continue now, the most promising first."""
        if not self._chances or not self._draws_are_over():
            return []
        if self._promising is None:
            self._promising = most_promising(list(self._results.values()), self._no_chance)
        found = self._promising[: self._chances]
        return [_Wanted(each.config, each.params, _origin("continue", each)) for each in found]

    def _confirm(self) -> None:
        """Once all have ended, adds the confirmations of trials that have come to the front."""
        if not self._confirmations or not self._is_open or not self.is_over:
            return
        origins = [
            *(trial.origin for trial in self._trials.values()),
            *(wanted.origin for wanted in self._queue),
        ]
        confirmed = {each.trial for each in origins if each and is_confirmation(each)}
        self._queue.extend(
            _Wanted(_with_seed(trial.config, 1 + repeat), {}, _origin("confirm", trial))
            for trial in pareto_front(list(self._results.values()))
            if trial.number not in confirmed
            for repeat in range(self._confirmations)
        )


def _origin(kind: OriginKind, other: TrialResult) -> Origin:
    step = other.last.step if other.last and kind != "confirm" else 0
    return Origin(kind=kind, trial=other.number, step=step)


def _length(config: TrialConfig, origin: Origin | None) -> int:
    """Steps that a trial trains at most."""
    return config.training.max_steps - first_step(origin)


def _with_seed(config: TrialConfig, offset: int) -> TrialConfig:
    """The configuration with the seed that is `offset` after its own."""
    seed = (config.training.seed + offset) % (LARGEST_SEED + 1)
    return replace(config, training=replace(config.training, seed=seed))
