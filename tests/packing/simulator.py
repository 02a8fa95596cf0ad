"""A search in miniature: real rounds, pretended trials, groups and timing.

Messages of one sender arrive in order and those of different senders in any order; groups are
slow or quick, die and come back; thin trials restart. What is decided goes to `log`.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from perft.packing.rounds import Assignment, Outcome, Rounds

RUNGS = (10, 20, 40)
Choose = Callable[[int], int]
"""Picks one of n possible next events."""


def first(_count: int) -> int:
    """The calmest timing: always the oldest event."""
    return 0


@dataclass
class Thin:
    """A thin trial and the Tune trial behind it."""

    config: Mapping[str, Any]
    after: int = 0
    waiting: bool = False
    steps: list[int] = field(default_factory=list)


@dataclass
class Simulator:
    """One search.

    Attributes:
        groups: worker groups.
        slots: trials a group trains together.
        num_trials: trials in all.
        choose: the timing.
        failing: trials whose loss is not finite, with the step at which that happens.
        crashing: trials that kill whatever worker trains them.
        kills: how often a worker dies for no reason.
        leaving: how many groups are never heard of again.
        restarts: how often a thin trial's process dies.
    """

    groups: int
    slots: int
    num_trials: int
    choose: Choose = first
    failing: Mapping[int, int] = field(default_factory=dict)
    crashing: frozenset[int] = frozenset()
    kills: int = 0
    leaving: int = 0
    restarts: int = 0
    rungs: tuple[int, ...] = RUNGS
    log: list[tuple[Any, ...]] = field(default_factory=list)
    packs: set[tuple[tuple[int, int], ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rounds = Rounds(self.groups, self.slots, self.num_trials, self.rungs)
        self.trials: dict[int, Thin] = {}
        self.ended: set[int] = set()
        self.held: deque[int] = deque()  # ended trials whose place is not taken yet
        self.losses: dict[int, list[float]] = {rung: [] for rung in self.rungs}
        self.told: list[tuple[int, float]] = []  # what a sampler would learn from
        self.wires: dict[object, deque[Callable[[], None]]] = {}
        self.training: dict[int, tuple[Assignment, ...]] = {}
        self.killed: set[tuple[int, int]] = set()
        self.lost: set[int] = set()

    def run(self) -> "Simulator":
        """To the end; raises when nothing can happen any more before all trials have ended."""
        while len(self.ended) < self.num_trials:
            events = self._events()
            assert events, f"deadlock after {self.log}"
            events[self.choose(len(events))]()
        return self

    def _events(self) -> list[Callable[[], None]]:
        events: list[Callable[[], None]] = [
            lambda w=wire: w.popleft()() for wire in self.wires.values() if wire
        ]
        for number, thin in self.trials.items():
            if thin.waiting and self.rounds.ready(number, thin.after):
                events.append(lambda n=number: self._deliver(n))
            elif thin.waiting and self.restarts and not self.wires.get("driver"):
                # The driver starts a process anew seconds after its last message.
                events.append(lambda n=number: self._restart(n))
        for group in set(range(self.groups)) - self.lost:
            if group in self.training:
                events.append(lambda g=group: self._finish(g))
                if self.kills and (len(self.log), group) not in self.killed:
                    events.append(lambda g=group: self._kill(g))
            elif self.rounds.has_work(group, self.lost):
                events.append(lambda g=group: self._work(g))
            if self.leaving:
                events.append(lambda g=group: self._lose(g))
        live = len(self.trials) - len(self.ended)
        concurrent = min(self.groups * self.slots, self.num_trials)
        if live < concurrent and len(self.trials) < self.num_trials:
            events.append(self._propose)
        return events

    # The sampler: what is proposed follows from what it was told, and in which order.

    def proposal(self, number: int) -> Mapping[str, Any]:
        return {"number": number, "known": tuple(self.told)}

    def tell(self, number: int, outcome: Outcome, ended: bool) -> None:
        """The search has acted on a report; `ended` says that the trial does not go on."""
        self.told.append((number, outcome["report"]["val_loss"]))

    def tell_failed(self, number: int) -> None:
        self.told.append((number, math.nan))

    def _send(self, sender: object, message: Callable[[], None]) -> None:
        self.wires.setdefault(sender, deque()).append(message)

    def _propose(self) -> None:
        number = len(self.trials)
        self.trials[number] = Thin(self.proposal(number))
        self._ask(number)
        if self.held:
            self._let_go()
        if len(self.trials) == self.num_trials:
            while self.held:
                self._let_go()

    def _let_go(self) -> None:
        number = self.held.popleft()
        self._send("driver", lambda: self.rounds.ended(number))

    def _ask(self, number: int) -> None:
        thin = self.trials[number]

        def arrive() -> None:
            self.rounds.request(number, thin.config, thin.after)
            thin.waiting = True

        self._send(number, arrive)

    def _restart(self, number: int) -> None:
        self.restarts -= 1
        self.trials[number].waiting, self.trials[number].after = False, 0
        self._ask(number)

    def _work(self, group: int) -> None:
        batch = self.rounds.work(group, self.lost)
        assert 0 < len(batch) <= self.slots
        self.packs.add(tuple((a.trial, a.target) for a in batch))
        self.training[group] = batch

    def _finish(self, group: int) -> None:
        batch = self.training.pop(group)
        if any(assignment.trial in self.crashing for assignment in batch):
            self.rounds.crashed(group)
        else:
            self.rounds.finish(group, {a.trial: self._train(a) for a in batch})

    def _kill(self, group: int) -> None:
        self.kills -= 1
        self.killed.add((len(self.log), group))
        del self.training[group]
        self.rounds.crashed(group)

    def _lose(self, group: int) -> None:
        self.leaving -= 1
        self.lost.add(group)
        self.training.pop(group, None)

    def _train(self, assignment: Assignment) -> Outcome:
        if self.failing.get(assignment.trial, self.rungs[-1] + 1) <= assignment.target:
            return {"failure": "the loss is nan"}
        if not assignment.due:
            return {}
        loss = random.Random(repr((assignment.config, assignment.target))).random()
        return {"report": {"step": assignment.target, "val_loss": loss}}

    def _deliver(self, number: int) -> None:
        outcome = self.rounds.ready(number, self.trials[number].after)
        assert outcome is not None
        self.trials[number].waiting = False
        if "failure" in outcome:
            self.tell_failed(number)
            self._end(number, "failed")
            return
        self._act(number, outcome)

    def _act(self, number: int, outcome: Outcome) -> None:
        """What Tune does with a report: scheduler, sampler, then the next step or the end."""
        report = outcome["report"]
        step, loss = report["step"], report["val_loss"]
        self.trials[number].steps.append(step)
        worse = sum(other < loss for other in self.losses[step])
        stop = worse * 2 > len(self.losses[step])
        self.losses[step].append(loss)
        self.log.append((number, self.trials[number].config, step, loss, stop))
        self.tell(number, outcome, stop or step == self.rungs[-1])
        if step == self.rungs[-1] or stop:
            self._end(number, "complete" if step == self.rungs[-1] else "pruned")
        else:
            self._send("driver", lambda: self.rounds.processed(number, step))
            self.trials[number].after = step
            self._ask(number)

    def _end(self, number: int, outcome: str) -> None:
        self.ended.add(number)
        if outcome == "failed":
            self.log.append((number, outcome))
        self.held.append(number)
        if len(self.trials) == self.num_trials:
            self._let_go()
