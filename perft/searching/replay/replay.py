"""Replays a search: the real agenda, sampler, pruner and rounds; recorded reports for training.

Nothing is trained and no process is started, so a search takes about a second. Everything happens
in the order of `perft/packing/messages.py`; what a search decides depends on nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perft.packing.messages import Assignment, BatchResult, Failed, NotDue, Reported
from perft.packing.rounds import Rounds
from perft.searching.agenda import Agenda, Trial
from perft.searching.pruning.pruners import Pruner, RungReport
from perft.searching.replay.recording import Recording
from perft.trial import Outcome, first_step, is_confirmation


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial of a replayed search that has ended.

    Attributes:
        trial: as it was proposed.
        outcome: how it ended.
        last: its last report; None if it has none.
        is_cut: whether it was stopped only because the recorded trial goes no further.
        steps: optimiser steps that all trials together had done by then.
        in_a_row: optimiser steps that its rounds had lasted by then, one after the other.
    """

    trial: Trial
    outcome: Outcome
    last: Reported | None
    is_cut: bool
    steps: int
    in_a_row: int


class Replay:
    """One search.

    Args:
        agenda: proposes its trials.
        pruner: stops them at rungs.
        recording: what they report.
        rungs: steps after which a trial reports, ascending; the last is its full length.
        groups: worker groups.
        slots: trials that one group trains together.
    """

    def __init__(
        self,
        agenda: Agenda,
        pruner: Pruner,
        recording: Recording,
        rungs: Sequence[int],
        *,
        groups: int,
        slots: int,
    ) -> None:
        self._agenda, self._pruner, self._recording = agenda, pruner, recording
        self._rungs = tuple(rungs)
        self._groups, self._capacity = groups, groups * slots
        self._rounds = Rounds(groups, slots, agenda.num_trials, rungs)
        self._live: dict[int, Trial] = {}
        self._after: dict[int, int] = {}  # by live trial, the step of its last report
        self._steps = self._in_a_row = 0

    def run(self) -> Iterator[Ended]:
        """Yields each trial when it ends, to the last."""
        self._propose()
        while self._live:
            self._train()
            trial, answer = self._next_report()
            ended = self._act(trial, answer)
            self._propose()  # as the callback, which holds back what it has to say until then
            self._rounds.expect(self._agenda.num_trials)
            if ended is None:
                self._continue(trial)
            else:
                self._rounds.ended(trial.number)
                yield ended

    def _propose(self) -> None:
        """As the searcher when Tune asks it."""
        while len(self._live) < self._capacity:
            trial = self._agenda.next()
            if trial is None:
                return
            first = first_step(trial.origin)
            self._live[trial.number], self._after[trial.number] = trial, first
            self._rounds.request(trial.number, trial.config, first, trial.origin)

    def _continue(self, trial: Trial) -> None:
        """As the thin trial, which asks for its next report."""
        step = self._after[trial.number]
        self._rounds.processed(trial.number, step)
        self._rounds.request(trial.number, trial.config, step, trial.origin)

    def _train(self) -> None:
        """As the worker groups, if a round has started."""
        steps = 0
        for group in range(self._groups):
            if batch := self._rounds.work(group):
                steps = batch[0].target - batch[0].reached  # the same for all trials of a round
                self._steps += steps * len(batch)
                self._rounds.finish(group, {each.trial: self._trained(each) for each in batch})
        self._in_a_row += steps

    def _trained(self, assignment: Assignment) -> BatchResult:
        if not assignment.due:
            return NotDue(assignment.target)
        reported = self._recording.reported(assignment.config, assignment.target)
        return reported or Failed("the recorded trial goes no further")

    def _next_report(self) -> tuple[Trial, Reported | Failed]:
        """As the coordinator: the report that the search is to act on next."""
        for number in sorted(self._live):
            answer = self._rounds.ready(number, self._after[number])
            if answer is not None:
                return self._live[number], answer
        raise AssertionError("no trial is due")

    def _act(self, trial: Trial, answer: Reported | Failed) -> Ended | None:
        """As scheduler and searcher, in this order; what ended, if the trial did."""
        if isinstance(answer, Failed):
            return self._end(trial, "failed", None)
        step = answer.report.step
        if step == self._rungs[-1]:
            return self._end(trial, "complete", answer)
        if self._stops(trial, answer):
            return self._end(trial, "pruned", answer)
        next_rung = next(rung for rung in self._rungs if rung > step)
        if self._recording.reported(trial.config, next_rung) is None:
            return self._end(trial, "pruned", answer, is_cut=True)
        self._agenda.reported(trial.number, answer)
        self._after[trial.number] = step
        return None

    def _stops(self, trial: Trial, answer: Reported) -> bool:
        if is_confirmation(trial.origin):
            return False
        at = RungReport(
            number=trial.number, config=trial.config, size=answer.size, report=answer.report
        )
        return self._pruner.stops(at)

    def _end(
        self, trial: Trial, outcome: Outcome, last: Reported | None, *, is_cut: bool = False
    ) -> Ended:
        self._agenda.ended(trial.number, outcome, last)
        del self._live[trial.number], self._after[trial.number]
        return Ended(
            trial=trial,
            outcome=outcome,
            last=last,
            is_cut=is_cut,
            steps=self._steps,
            in_a_row=self._in_a_row,
        )
