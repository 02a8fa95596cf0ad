"""A search in miniature: the real coordinator, callback and ledger; training is pretended.

All runs in one thread, and no time passes by itself. Whenever everything waits, the next of the
things that could happen is chosen: a message arrives (those of one sender in order, those of
different senders in any order), a batch is trained, Tune acts on a report, a worker or a thin trial
dies, a group is never heard of again. What is decided goes to `log`.
"""

import asyncio
import contextlib
import functools
import math
import random
import selectors
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.utils import flatten_dict

from perft.config import SingleConfig, TrainingConfig
from perft.errors import SearchError
from perft.packing.coordinator import ABSENT_SECONDS, Coordinator
from perft.packing.messages import Assignment, BatchResult, Failed, NotDue, Reported
from perft.searching.agenda import Agenda, Study, Trial
from perft.searching.ledger import Ledger
from perft.searching.pruning.pruners import RungReport
from perft.searching.steering.budget import Budget
from perft.searching.steering.eta import Pace
from perft.searching.steering.event_log import EventLog
from perft.searching.steering.interventions import Interventions
from perft.searching.steering.outlook import Outlook
from perft.searching.steering.stopwatch import Stopwatch
from perft.searching.tune.proposer import Proposer
from perft.searching.tune.rung_scheduler import RungScheduler
from perft.searching.tune.tune_callback import TuneCallback
from perft.searching.tune.tune_dicts import DONE, FULL_LENGTH, Proposal, to_result
from perft.trial import AdapterSize, Origin, Outcome, Report, TrialConfig

RUNGS = (10, 20, 40)
SECONDS_PER_REPORT = 2.0
SIZE = AdapterSize(trainable=2, activated=1, base_activated=9)
Choose = Callable[[int], int]
"""Picks one of n possible next events."""


def first(_count: int) -> int:
    """The calmest timing: always the oldest event."""
    return 0


def config_of(max_steps: int, seed: int = 0) -> TrialConfig:
    """What a trial is to train that is told from others by its seed alone."""
    training = TrainingConfig(lr=1e-3, max_steps=max_steps, warmup_steps=0, seed=seed)
    return TrialConfig(SingleConfig(rank=2), training)


def reported(step: int, val_loss: float = 1.0) -> Reported:
    report = Report(
        step=step, train_loss=1.0, val_loss=val_loss, correct=3, scored=4, lr=1e-3,
        tokens_per_second=1.0,
    )  # fmt: skip
    return Reported(report, SIZE)


@functools.cache
def loss_of(config: TrialConfig, step: int) -> float:
    about = f"(TrialConfig(adapter={config.adapter!r}, training={config.training!r}), {step})"
    return random.Random(about).random()


class _Still(selectors.SelectSelector):
    """Has an event loop ask for the next event whenever it would wait."""

    happens: Callable[[], None]

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None or timeout > 0:
            self.happens()
        return []


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still."""

    now = 0.0

    def time(self) -> float:
        return self.now


class StandIn:
    """A study whose next trial follows from what it has heard, and in which order.

    Args:
        max_steps: of its trials.
    """

    def __init__(self, max_steps: int) -> None:
        self._max_steps = max_steps
        self._count = 0
        self.told: list[tuple[int, str, float]] = []

    def draw(self) -> Trial:
        seed = zlib.crc32(repr((self._count, self.told)).encode())
        return self.given(config_of(self._max_steps, seed), {}, None)

    def given(self, config: TrialConfig, params: Mapping[str, Any], origin: Origin | None) -> Trial:
        self._count += 1
        return Trial(number=self._count - 1, config=config, params=params, origin=origin)

    def reported(self, number: int, reported: Reported) -> None:
        self.told.append((number, "", reported.report.val_loss))

    def ended(self, number: int, outcome: Outcome, last: Reported | None) -> None:
        self.told.append((number, outcome, last.report.val_loss if last else math.nan))


class Median:
    """Stops a trial whose loss is above those of more than half of the others at its rung."""

    def __init__(self) -> None:
        self._losses: dict[int, list[float]] = {}

    def stops(self, at: RungReport) -> bool:
        losses, loss = self._losses.setdefault(at.report.step, []), at.report.val_loss
        worse = sum(other < loss for other in losses)
        losses.append(loss)
        return worse * 2 > len(losses) - 1


class Folder:
    """Stands for a search's folder: files in memory."""

    shown = "memory"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def write(self, name: str, data: bytes) -> None:
        self.files[name] = data

    def read(self, name: str, at_most: int | None = None) -> bytes:
        return self.files[name]

    def exists(self, name: str) -> bool:
        return name in self.files

    def delete(self, name: str) -> None:
        self.files.pop(name, None)

    def names(self, folder: str) -> list[str]:
        found = (name.removeprefix(f"{folder}/") for name in self.files if name.startswith(folder))
        return sorted(found)


class _Silent:
    """Stands for whatever is only told something."""

    def __getattr__(self, _name: str) -> Callable[..., str]:
        return lambda *_args, **_info: ""


class _Driver:
    """The coordinator as the callback calls it; what it sends is on its way for a while."""

    def __init__(self, search: "Simulator") -> None:
        self._search = search

    def expect(self, num_trials: int) -> None:
        self._search.send("driver", lambda: self._search.point.expect(num_trials))

    def processed(self, trial: int, step: int) -> None:
        self._search.send("driver", lambda: self._search.point.processed(trial, step))

    def ended(self, trial: int) -> None:
        self._search.send("driver", lambda: self._search.point.ended(trial))

    def failure_of(self, trial: int) -> str:
        return at_once(self._search.point.failure_of(trial))

    def status(self) -> Any:
        return at_once(self._search.point.status())


def at_once(answer: Coroutine[Any, Any, Any]) -> Any:
    """What a question is answered that waits for nothing."""
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


@dataclass
class Thin:
    """A thin trial and the Tune trial behind it."""

    tune: Any
    config: TrialConfig
    origin: Origin | None = None
    after: int = 0
    asking: "asyncio.Task[Any] | None" = None
    steps: list[int] = field(default_factory=list)

    @property
    def is_waiting(self) -> bool:
        return self.asking is not None and not self.asking.done()


@dataclass
class Simulator:
    """One search.

    Attributes:
        groups: worker groups.
        slots: trials a group trains together.
        num_trials: trials that are drawn.
        choose: the timing.
        failing: trials whose loss is not finite, with the step at which that happens.
        crashing: trials that kill whatever worker trains them.
        kills: how often a worker dies for no reason while it trains.
        idle_kills: how often one does while it waits for work.
        leaving: how many groups are never heard of again.
        restarts: how often a thin trial's process dies.
        second_chances: stopped trials that are continued.
        confirmations: trainings with other seeds of each trial on the front.
        budget: of the search.
        folder: the search's, with commands and what earlier processes have left.
        reports: reports that earlier processes have acted on.
        command: called before the search acts on a report, with how many came before: a user's.
        dies_at: of this report the driver dies before it acts on it.
    """

    groups: int
    slots: int
    num_trials: int
    choose: Choose = first
    failing: Mapping[int, int] = field(default_factory=dict)
    crashing: frozenset[int] = frozenset()
    kills: int = 0
    idle_kills: int = 0
    leaving: int = 0
    restarts: int = 0
    second_chances: int = 0
    confirmations: int = 0
    budget: Budget = field(default_factory=Budget)
    folder: Folder = field(default_factory=Folder)
    reports: int = 0
    command: Callable[[int], None] = lambda _reports: None
    dies_at: int | None = None
    rungs: tuple[int, ...] = RUNGS
    log: list[tuple[Any, ...]] = field(default_factory=list)
    packs: set[tuple[tuple[int, int], ...]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.trials: dict[int, Thin] = {}
        self.wires: dict[object, deque[Callable[[], Awaitable[Any]]]] = {}
        self.training: dict[int, tuple[Assignment, ...]] = {}
        self.asking: dict[int, asyncio.Task[Any]] = {}  # of each group that waits for work
        self.killed: set[tuple[int, int]] = set()
        self.lost: set[int] = set()
        self.states: dict[int, list[int]] = {}  # by trial, the steps at which it was saved
        self.ledger = Ledger(_Silent(), _Silent())  # type: ignore[arg-type]
        self.studied = self.new_study()
        self.agenda = Agenda(
            self.studied,
            num_trials=self.num_trials,
            max_steps=self.rungs[-1],
            max_steps_total=self.budget.max_steps_total,
            second_chances=self.second_chances,
            confirmations=self.confirmations,
        )
        self.proposer = Proposer(self.agenda, "m", "n", lambda: self.callback.proposed())
        self.searcher = ConcurrencyLimiter(self.proposer, self.groups * self.slots)
        self.notes: list[str] = []
        search: Any = self.folder
        outlook = Outlook(
            self.rungs,
            self.agenda,
            self.ledger.entries,
            dict,
            stopwatch=Stopwatch(search, 0.0, self.clock),
            pace=Pace(self.groups * self.slots),
            budget=self.budget,
            clock=self.clock,
        )
        log = EventLog(search, self.reports, self.notes.append, self.clock)
        self.interventions = Interventions(log, self.agenda, outlook, self.notes.append)
        self.scheduler = RungScheduler(Median(), self.interventions.stops)
        self.callback = TuneCallback(
            self.ledger,
            _Silent(),  # type: ignore[arg-type]
            _Driver(self),  # type: ignore[arg-type]
            self.agenda,
            interventions=self.interventions,
            trials_at_once=self.groups * self.slots,
        )

    def new_study(self) -> Study:
        """What draws the trials."""
        return StandIn(self.rungs[-1])

    def clock(self) -> float:
        """Seconds: so many pass between two reports."""
        return SECONDS_PER_REPORT * len(self.log)

    @property
    def ended(self) -> set[int]:
        entries = self.ledger.entries
        return {number for number, entry in entries.items() if entry.outcome is not None}

    def run(self) -> "Simulator":
        """To the end; raises when nothing can happen any more before all trials have ended."""
        still = _Still()
        self.loop = _Loop(still)
        still.happens = self._happen
        try:
            self.loop.run_until_complete(self._search())
        finally:
            still.happens = lambda: None
            self.loop.run_until_complete(_cancel_all())
            self.loop.close()
        assert self.callback.failure is None
        return self

    async def _search(self) -> None:
        self.over = asyncio.Event()
        self.point = Coordinator(
            self.groups,
            self.slots,
            self.agenda.num_trials,
            self.rungs,
            clock=lambda: self.loop.now,
        )
        for group in range(self.groups):
            self._start(group)
        await self.over.wait()

    def _happen(self) -> None:
        if self.agenda.is_over and len(self.ended) == len(self.trials):
            self.over.set()
            return
        events = list(self._events())
        assert events, f"deadlock after {self.log}"
        events[self.choose(len(events))]()

    def _events(self) -> Iterator[Callable[[], None]]:
        for sender, wire in self.wires.items():
            if wire:
                yield lambda s=sender: self._arrive(s)
        for number, thin in self.trials.items():
            if thin.asking is not None and thin.asking.done():
                yield lambda n=number: self._deliver(n)
            elif thin.is_waiting and self.restarts and not self.wires.get("driver"):
                # The driver starts a process anew seconds after its last message.
                yield lambda n=number: self._restart(n)
        for group in set(range(self.groups)) - self.lost:
            if group in self.training:
                yield lambda g=group: self._finish(g)
                if self.kills and (len(self.log), group) not in self.killed:
                    yield lambda g=group: self._kill(g)
            if group in self.asking and self.idle_kills:
                yield lambda g=group: self._kill_idle(g)
            if self.leaving:
                yield lambda g=group: self._lose(g)
        live = len(self.trials) - len(self.ended)
        if live < self.groups * self.slots and len(self.trials) < self.agenda.num_trials:
            yield self._propose

    def send(self, sender: object, message: Callable[[], Awaitable[Any]]) -> None:
        """Puts a message on its way."""
        self.wires.setdefault(sender, deque()).append(message)

    def _arrive(self, sender: object) -> None:
        message = self.wires[sender].popleft()
        self.loop.create_task(message())  # type: ignore[arg-type]

    # Tune: it proposes, and acts on what thin trials are answered.

    def _propose(self) -> None:
        proposed = self.searcher.suggest(f"tune-{len(self.trials)}")
        proposal = Proposal.from_tune(proposed)
        tune = SimpleNamespace(config=proposed)
        self.trials[proposal.number] = Thin(tune, proposal.trial, proposal.origin)
        self.callback.on_trial_start(0, [], tune)
        self._ask(proposal.number)

    def _ask(self, number: int) -> None:
        thin = self.trials[number]
        thin.asking = None

        async def arrive() -> None:
            point = self.point
            asking = asyncio.create_task(
                point.next_report(number, thin.config, thin.after, thin.origin)
            )
            thin.asking = asking

        self.send(number, arrive)

    def _restart(self, number: int) -> None:
        """Its process dies, and another asks from the start; what it had asked stays open."""
        self.restarts -= 1
        thin = self.trials[number]
        thin.after = 0
        self.callback.on_trial_start(0, [], thin.tune)
        self._ask(number)

    def _deliver(self, number: int) -> None:
        thin = self.trials[number]
        assert thin.asking is not None
        answer, thin.asking = thin.asking.result(), None
        if isinstance(answer, Reported):
            self._act(number, answer)
            return
        self.log.append((number, "failed"))
        self.searcher.on_trial_complete(f"tune-{number}", error=True)
        self.callback.on_trial_error(0, [], thin.tune)

    def _act(self, number: int, answer: Reported) -> None:
        """What Tune does with a report: scheduler, searcher, callback; then ends or goes on."""
        thin, step, loss = self.trials[number], answer.report.step, answer.report.val_loss
        result = to_result(answer, thin.config)
        thin.steps.append(step)
        flat = flatten_dict(result)
        acted = len(self.log)
        self.command(acted)
        if acted == self.dies_at:
            self.over.set()
            return
        self.callback.before_result(f"tune-{number}", step)
        stop = False
        if not result[DONE]:
            decision = self.scheduler.on_trial_result(None, thin.tune, flat)
            stop = decision == TrialScheduler.STOP
        self.log.append((number, thin.config, step, loss, stop))
        result[DONE] = stop or result[FULL_LENGTH]
        if not result[DONE]:
            self.searcher.on_trial_result(f"tune-{number}", flat)
        self.callback.on_trial_result(0, [], thin.tune, result)
        if result[DONE]:
            self.searcher.on_trial_complete(f"tune-{number}", flat)
            self.callback.on_trial_complete(0, [], thin.tune)
        else:
            thin.after = step
            self._ask(number)

    # Worker groups.

    def train(self, group: int, batch: Sequence[Assignment]) -> dict[int, BatchResult]:
        """What a group hands in that is not killed."""
        return {assignment.trial: self._trained(assignment) for assignment in batch}

    def die(self, group: int, batch: Sequence[Assignment]) -> None:
        """A group loses what it had in memory, somewhere while it trains a batch."""

    def _trained(self, assignment: Assignment) -> BatchResult:
        origin, mine = assignment.origin, self.states.setdefault(assignment.trial, [0])
        if origin and origin.trial is not None and origin.kind != "confirm" and len(mine) == 1:
            assert origin.step in self.states[origin.trial][-2:], "that state is gone"
        if mine[-1] != assignment.target:
            mine.append(assignment.target)
        if self.failing.get(assignment.trial, self.rungs[-1] + 1) <= assignment.target:
            return Failed("the loss is nan")
        if not assignment.due:
            return NotDue(assignment.target)
        return reported(assignment.target, loss_of(assignment.config, assignment.target))

    def _start(self, group: int) -> None:
        """A group's process begins: again, if it has died."""
        # It does not call `starting`, which ends a search of so many deaths as happen here.
        self.send(("group", group), lambda: self.point.attach(group))
        self._ask_for_work(group, None)

    def _ask_for_work(self, group: int, results: Mapping[int, BatchResult] | None) -> None:
        async def arrive() -> None:
            if group not in self.lost:
                asking = asyncio.create_task(self.point.next_work(group, results))
                self.asking[group] = asking
                asking.add_done_callback(lambda done: self._work(group, done))

        self.send(("group", group), arrive)

    def _work(self, group: int, answered: "asyncio.Task[Any]") -> None:
        if self.asking.get(group) is not answered or answered.cancelled():  # who asked is dead
            return
        del self.asking[group]
        work = answered.result()
        assert not work.stop
        if not work.assignments:
            self._ask_for_work(group, None)
            return
        assert len(work.assignments) <= self.slots
        self.packs.add(tuple((a.trial, a.target) for a in work.assignments))
        self.training[group] = work.assignments

    def _finish(self, group: int) -> None:
        batch = self.training.pop(group)
        if any(assignment.trial in self.crashing for assignment in batch):
            self._start(group)
        else:
            self._ask_for_work(group, self.train(group, batch))

    def _kill(self, group: int) -> None:
        self.kills -= 1
        self.killed.add((len(self.log), group))
        self.die(group, self.training.pop(group))
        self._start(group)

    def _kill_idle(self, group: int) -> None:
        """A worker dies that has asked for work: its question stays open."""
        self.idle_kills -= 1
        del self.asking[group]
        self._start(group)

    def _lose(self, group: int) -> None:
        """A group is gone for good; after a while the others notice."""
        self.leaving -= 1
        self.lost.add(group)
        self.training.pop(group, None)
        self.asking.pop(group, None)
        self.wires.pop(("group", group), None)
        self.loop.now += ABSENT_SECONDS
        for other in set(range(self.groups)) - self.lost:
            at_once(self.point.beat(other))


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError, SearchError):
        await asyncio.gather(*tasks, return_exceptions=True)
