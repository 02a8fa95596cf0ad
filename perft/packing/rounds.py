"""Which trials train when, and the order in which their reports are returned. No Ray, no clock.

A search runs in rounds, and its clock counts optimiser steps. A round starts when every trial that
can run has asked for its next report; the trials are spread over the worker groups, and each group
trains its own as one pack, all by the same number of steps: until the first of them is due at a
rung. The reports of due trials are returned one by one, the lowest loss first, each after the
search has acted on the one before; the other trials train on in the next round, beside the new
trials that replace those that ended. So no trial waits for one with more steps to go, and the
decisions of a search depend on its seed alone: not on timing, the number of groups, or workers that
died.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from perft.packing.messages import Assignment, BatchResult, BatchResults, Failed, NotDue, Reported
from perft.packing.placement import spread
from perft.trial import Origin, TrialConfig, first_step

MAX_CRASHES_TOGETHER = 2
"""Crashes of a pack after which its trials run one by one, so that the culprit is found."""

MAX_CRASHES_ALONE = 3
"""Crashes of a trial on its own after which it fails: not only trials kill workers."""


@dataclass
class _Trial:
    config: TrialConfig
    origin: Origin | None
    reached: int  # steps done by the end of the last round
    processed: int  # step of the last report that the search has acted on
    group: int | None = None
    asked: int | None = None  # the step after which it wants a report; None if it wants none
    crashes_alone: int = 0

    def is_full_length(self, step: int) -> bool:
        return self.config.training.is_full_length(step)


@dataclass
class _Round:
    targets: Mapping[int, int]
    left: list[int]  # trials whose reports the search has not acted on
    batches: dict[int, list[list[int]]]
    results: dict[int, BatchResult] = field(default_factory=dict)
    in_flight: dict[int, list[int]] = field(default_factory=dict)
    crashes: dict[tuple[int, ...], int] = field(default_factory=dict)  # by batch
    kept: set[int] = field(default_factory=set)  # groups whose machine is about to be taken

    @property
    def trained(self) -> bool:
        return self.results.keys() >= self.targets.keys()

    def turn(self, trial: int) -> tuple[float, int]:
        """Sorts trials that are due: the lowest loss first, which may stop others at the rung."""
        result = self.results[trial]
        return (result.report.val_loss if isinstance(result, Reported) else math.inf), trial


class Rounds:
    """The rounds of one search.

    Args:
        groups: number of worker groups.
        slots: trials that one group trains together.
        num_trials: trials of the whole search, as far as known.
        rungs: steps after which a trial reports, ascending; the last is its full length.
    """

    def __init__(self, groups: int, slots: int, num_trials: int, rungs: Sequence[int]) -> None:
        self._groups = groups
        self._capacity = groups * slots
        self._num_trials = num_trials
        self._rungs = tuple(rungs)
        self._trials: dict[int, _Trial] = {}
        self._ended: set[int] = set()
        self._final: dict[int, int] = {}  # steps that trials have done that ended here
        self._round: _Round | None = None

    def expect(self, num_trials: int) -> None:
        """Notes how many trials the whole search has, as far as known now.

        A round waits for as many as fit; so a trial that is still to be proposed must be counted
        before the search acts on the report after which it is proposed.
        """
        self._num_trials = num_trials
        self._maybe_start()

    def request(
        self, trial: int, config: TrialConfig, after: int, origin: Origin | None = None
    ) -> None:
        """Notes that a trial asks for its next report.

        Args:
            trial: its number.
            config: its configuration.
            after: step of the last report it got; 0 if it has none, or restarted.
            origin: where it comes from if the sampler did not draw it.
        """
        if trial in self._ended:
            return
        first = first_step(origin)
        state = self._trials.setdefault(trial, _Trial(config, origin, first, first))
        if not state.is_full_length(state.processed):
            state.asked = after
        self._maybe_start()

    def processed(self, trial: int, step: int) -> None:
        """Notes that the search has acted on the trial's report of `step`; the trial continues."""
        if trial not in self._trials or self._trials[trial].processed >= step:
            return
        state = self._trials[trial]
        state.processed = step
        if state.asked is not None and state.asked < step:  # the request that was answered
            state.asked = None
        self._strike_off(trial)

    def ended(self, trial: int) -> None:
        """Notes that the trial is complete, pruned or failed, and its replacement proposed."""
        self._ended.add(trial)
        state = self._trials.pop(trial, None)
        targets = self._round.targets if self._round is not None else {}
        if state is not None:
            self._final[trial] = targets.get(trial, state.reached)
        if self._round is not None:
            self._round.results.setdefault(trial, Failed("the trial ended"))
        self._strike_off(trial)

    def has_work(self, group: int, absent: Collection[int] = ()) -> bool:
        """Whether `work` would return a batch."""
        now = self._round
        if now is None or group in now.in_flight:
            return False
        lost = [now.in_flight.get(other, []) for other in absent]
        left = [batch for other in (group, *absent) for batch in now.batches.get(other, [])]
        return any(trial in self._trials for batch in (*left, *lost) for trial in batch)

    def work(self, group: int, absent: Collection[int] = ()) -> tuple[Assignment, ...]:
        """Takes the next batch of `group`; empty when there is none now.

        Args:
            group: a group without a batch.
            absent: other groups, which do not answer: `group` takes their batches when its own
                are done. Results that an absent group hands in later are ignored.
        """
        for other in absent:
            self.crashed(other)
        if self._round is None or group in self._round.in_flight:
            return ()
        for other in (group, *absent):
            queue = self._round.batches.get(other, [])
            while queue:
                batch = [trial for trial in queue.pop(0) if trial in self._trials]
                if batch:  # its trials still belong to `other`, so that packs stay the same
                    self._round.in_flight[group] = batch
                    return tuple(self._assignment(trial) for trial in batch)
        return ()

    def finish(self, group: int, results: BatchResults) -> None:
        """Takes the results of a group's batch."""
        if self._round is None:
            return
        batch = self._round.in_flight.pop(group, [])
        self._round.kept.discard(group)
        self._round.crashes.pop(tuple(batch), None)
        for trial in results.keys() & set(batch):
            self._round.results.setdefault(trial, results[trial])
            if trial in self._trials:
                self._trials[trial].crashes_alone = 0
        self._maybe_close()

    def kept(self, group: int) -> None:
        """Notes that a group has kept its batch: that it dies then is no fault of its trials."""
        if self._round is not None and group in self._round.in_flight:
            self._round.kept.add(group)

    def crashed(self, group: int) -> None:
        """Notes that a group has restarted or is gone; its batch is queued again."""
        if self._round is None or group not in self._round.in_flight:
            return
        batch = self._round.in_flight.pop(group)
        queue = self._round.batches.setdefault(group, [])
        if group in self._round.kept:
            self._round.kept.remove(group)
            queue.insert(0, batch)
        elif len(batch) == 1:
            self._crashed_alone(batch[0], queue)
            self._maybe_close()
        else:
            crashes = self._round.crashes.get(tuple(batch), 0) + 1
            self._round.crashes[tuple(batch)] = crashes
            alone = crashes >= MAX_CRASHES_TOGETHER
            queue[:0] = [[trial] for trial in batch] if alone else [batch]

    def ready(self, trial: int, after: int) -> Reported | Failed | None:
        """The next report of a trial after step `after`; None while the trial must wait."""
        now = self._round
        if now is None or not now.trained or min(now.left, key=now.turn) != trial:
            return None
        result = now.results[trial]
        assert not isinstance(result, NotDue), "only trials that are due are left"
        if isinstance(result, Reported) and result.report.step <= after:
            return None  # it has this one, and the search has not acted on it yet
        return result

    def _crashed_alone(self, trial: int, queue: list[list[int]]) -> None:
        assert self._round is not None
        if trial not in self._trials:
            return
        self._trials[trial].crashes_alone += 1
        crashes = self._trials[trial].crashes_alone
        if crashes >= MAX_CRASHES_ALONE:
            failure = f"the trial crashed its worker {crashes} times while it ran alone"
            self._round.results[trial] = Failed(failure)
        else:
            queue.insert(0, [trial])

    def _assignment(self, trial: int) -> Assignment:
        assert self._round is not None
        state, target = self._trials[trial], self._round.targets[trial]
        due = target == self._next_rung(state)
        return Assignment(
            trial=trial,
            config=state.config,
            reached=state.reached,
            target=target,
            due=due,
            origin=state.origin,
        )

    def _next_rung(self, state: _Trial) -> int:
        return next(rung for rung in self._rungs if rung > state.processed)

    def _place(self, targets: Mapping[int, int]) -> None:
        """Spreads the trials of a round over the groups, whenever they asked."""
        kinds: tuple[list[int], ...] = [], [], []
        for trial, target in targets.items():
            kinds[self._evaluation(trial, target)].append(trial)
        homes = {n: home for n in targets if (home := self._trials[n].group) is not None}
        for trial, group in spread(kinds, self._groups, homes).items():
            self._trials[trial].group = group

    def _evaluation(self, trial: int, target: int) -> int:
        """The evaluation after the steps: 0 for full length, 1 for a rung, 2 for none."""
        state = self._trials[trial]
        if target < self._next_rung(state):
            return 2
        return 0 if state.is_full_length(target) else 1

    def _strike_off(self, trial: int) -> None:
        if self._round is not None and trial in self._round.left:
            self._round.left.remove(trial)
        self._maybe_close()
        self._maybe_start()

    def _maybe_close(self) -> None:
        """Ends the round when all trials are trained and the search has acted on every report."""
        now = self._round
        if now is None:
            return
        if now.trained:
            now.left = [n for n in now.left if not isinstance(now.results[n], NotDue)]
        if not now.left:
            for trial in now.targets.keys() & self._trials.keys():
                self._trials[trial].reached = now.targets[trial]
            self._round = None

    def _maybe_start(self) -> None:
        waiting = sorted(n for n, trial in self._trials.items() if trial.asked is not None)
        expected = min(self._capacity, self._num_trials - len(self._ended))
        if self._round is not None or not waiting or len(waiting) < expected:
            return
        states = {n: self._trials[n] for n in waiting}
        for state in states.values():
            if state.group is None:
                state.origin = self._resolved(state.origin)
        steps = min(self._next_rung(state) - state.reached for state in states.values())
        targets = {n: state.reached + steps for n, state in states.items()}
        self._place(targets)
        batches = {g: [mine] for g in range(self._groups) if (mine := self._members(waiting, g))}
        self._round = _Round(targets, waiting, batches)

    def _resolved(self, origin: Origin | None) -> Origin | None:
        """The origin of a new trial; of a clone, with the step at which the other trial is now.

        That state is kept until the next round is over, and by then the clone has one of its own.
        """
        if origin is None or origin.kind != "clone" or origin.trial is None:
            return origin
        other = self._trials.get(origin.trial)
        step = other.reached if other else self._final.get(origin.trial, origin.step)
        return replace(origin, step=step)

    def _members(self, trials: Sequence[int], group: int) -> list[int]:
        return [n for n in trials if self._trials[n].group == group]
