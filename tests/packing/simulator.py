"""A search in miniature: real rounds, pretended trials, groups and timing.

Messages of one sender arrive in order and those of different senders in any order; groups are
slow or quick, die and come back; thin trials restart. What is decided goes to `log`.
"""

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from perft.packing.rounds import Assignment, Delivery, Outcome, Rounds

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
        restarts: how often a thin trial's process dies.
    """

    groups: int
    slots: int
    num_trials: int
    choose: Choose = first
    failing: Mapping[int, int] = field(default_factory=dict)
    crashing: frozenset[int] = frozenset()
    kills: int = 0
    restarts: int = 0
    rungs: tuple[int, ...] = RUNGS
    log: list[tuple[Any, ...]] = field(default_factory=list)
    packs: set[tuple[tuple[int, int], ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rounds = Rounds(self.groups, self.slots, self.num_trials, self.rungs)
        self.trials: dict[int, Thin] = {}
        self.ended: set[int] = set()
        self.open: set[int] = set()  # members of the round that the search has yet to act on
        self.round = -1
        self.losses: dict[int, list[float]] = {rung: [] for rung in self.rungs}
        self.told: list[tuple[int, float]] = []  # what a sampler would learn from
        self.wires: dict[object, deque[Callable[[], None]]] = {}
        self.training: dict[int, tuple[Assignment, ...]] = {}
        self.killed: set[tuple[int, int]] = set()

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
        for group in range(self.groups):
            if group in self.training:
                events.append(lambda g=group: self._finish(g))
                if self.kills and (self.round, group) not in self.killed:
                    events.append(lambda g=group: self._kill(g))
            elif self.rounds.has_work(group):
                events.append(lambda g=group: self._work(g))
        live = len(self.trials) - len(self.ended)
        concurrent = min(self.groups * self.slots, self.num_trials)
        if live < concurrent and len(self.trials) < self.num_trials and self.may_propose():
            events.append(self._propose)
        return events

    # The sampler: what is proposed follows from what it was told, and in which order.

    def may_propose(self) -> bool:
        return not self.open

    def proposal(self, number: int) -> Mapping[str, Any] | None:
        return {"number": number, "known": tuple(self.told)}

    def tell(self, number: int, delivery: Delivery, ended: bool) -> None:
        """The search has acted on a report; `ended` says whether the trial goes on."""
        if delivery.round > self.round:
            self.open = set(delivery.members)
        self.open.discard(number)
        self.told.append((number, delivery.outcome["report"]["val_loss"]))

    def tell_failed(self, number: int) -> None:
        self.open.discard(number)

    def _send(self, sender: object, message: Callable[[], None]) -> None:
        self.wires.setdefault(sender, deque()).append(message)

    def _propose(self) -> None:
        number = len(self.trials)
        if (config := self.proposal(number)) is not None:
            self.trials[number] = Thin(config)
            self._ask(number)

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
        batch = self.rounds.work(group)
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
        self.killed.add((self.round, group))
        del self.training[group]
        self.rounds.crashed(group)

    def _train(self, assignment: Assignment) -> Outcome:
        if self.failing.get(assignment.trial, self.rungs[-1] + 1) <= assignment.target:
            return {"failure": "the loss is nan"}
        if not assignment.due:
            return {}
        loss = random.Random(repr((assignment.config, assignment.target))).random()
        return {"report": {"step": assignment.target, "val_loss": loss}}

    def _deliver(self, number: int) -> None:
        delivery = self.rounds.ready(number, self.trials[number].after)
        assert delivery is not None
        self.trials[number].waiting = False
        if "failure" in delivery.outcome:
            self.tell_failed(number)
            self._end(number, "failed")
            return
        self._act(number, delivery)

    def _act(self, number: int, delivery: Delivery) -> None:
        """What Tune does with a report: scheduler, sampler, then the next step or the end."""
        report = delivery.outcome["report"]
        step, loss = report["step"], report["val_loss"]
        self.trials[number].steps.append(step)
        worse = sum(other < loss for other in self.losses[step])
        stop = worse * 2 > len(self.losses[step])
        self.losses[step].append(loss)
        self.log.append((number, self.trials[number].config, delivery.round, step, loss, stop))
        self._send("driver", lambda: self.rounds.processed(number, step))
        self.tell(number, delivery, stop or step == self.rungs[-1])
        self.round = max(self.round, delivery.round)
        if step == self.rungs[-1] or stop:
            self._end(number, "complete" if step == self.rungs[-1] else "pruned")
        else:
            self.trials[number].after = step
            self._ask(number)

    def _end(self, number: int, outcome: str) -> None:
        self.ended.add(number)
        if outcome == "failed":  # failures come last in a round, in an order of no consequence
            self.log.append((number, outcome))
        self._send("driver", lambda: self.rounds.ended(number))
