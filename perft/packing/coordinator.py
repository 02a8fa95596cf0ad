"""The coordinator: a Ray actor where thin trials ask for reports and worker groups for work.

`Rounds` makes all decisions; the coordinator only waits and wakes. `messages.py` lists the messages
and their order.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from perft.errors import SearchError
from perft.packing.messages import (
    BatchResults,
    Failed,
    GroupStatus,
    NextReport,
    Scored,
    SearchOver,
    ToScore,
    Work,
    received,
)
from perft.packing.rounds import Rounds
from perft.packing.scoring import Scoring
from perft.trial import Origin, TrialConfig

POLL_SECONDS = 10.0
"""How long `next_work` waits before it returns empty; shorter than process groups' timeouts."""

ABSENT_SECONDS = 30.0
"""Time without a heartbeat after which other groups take over a group's work."""

MAX_STARTS_WITHOUT_WORK = 12
"""Starts of a group, with no batch finished between them, after which the search gives up.

Two trials that kill every worker, both first in the queue, take nine.
"""

Message = TypeVar("Message", TrialConfig, Origin | None, BatchResults, Scored)


class Coordinator:
    """Runs as a named asynchronous actor, one per search; others call it by `CoordinatorHandle`.

    An invalid message ends the search.

    Args:
        groups: number of worker groups.
        slots: trials that one group trains together.
        num_trials: trials of the whole search, as far as known.
        rungs: steps after which a trial reports.
        clock: returns the time in seconds.
    """

    def __init__(
        self,
        groups: int,
        slots: int,
        num_trials: int,
        rungs: Sequence[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._groups = groups
        self._rounds = Rounds(groups, slots, num_trials, rungs)
        self._changed = asyncio.Condition()
        self._fatal = ""
        self._stopping = False
        self._starts: dict[int, int] = {}
        self._stages: dict[int, str] = {}
        self._ready: set[int] = set()
        self._attached: dict[int, int] = {}  # by group, the times it has loaded its base
        self._last_beat: dict[int, float] = {}
        self._microbatch_limits: dict[int, int] = {}
        self._steps: dict[int, int] = {}
        self._notes: list[str] = []
        self._failures: dict[int, str] = {}
        self._scoring = Scoring(groups)

    async def expect(self, num_trials: int) -> None:
        """Notes how many trials the whole search has, as far as known now."""
        async with self._changed:
            self._rounds.expect(num_trials)
            self._changed.notify_all()

    async def next_report(
        self, trial: int, config: TrialConfig, after: int, origin: Origin | None = None
    ) -> NextReport:
        """Waits for the trial's next report.

        Args:
            trial: its number.
            config: what it trains.
            after: step of the last report it was given, 0 if none.
            origin: where it comes from if the sampler did not draw it.
        """
        async with self._changed:
            sound = self._received(TrialConfig, config, f"the configuration of trial {trial}")
            start = self._received(Origin | None, origin, f"the origin of trial {trial}")
            if sound is not None and not self._fatal:
                self._rounds.request(trial, sound, after, start)
                self._changed.notify_all()
            while not self._fatal:
                result = self._rounds.ready(trial, after)
                if result is not None:
                    self._failures[trial] = result.reason if isinstance(result, Failed) else ""
                    return result
                await self._changed.wait()
            return SearchOver(self._fatal)

    async def processed(self, trial: int, step: int) -> None:
        """Notes that the search has acted on a report, and that the trial continues."""
        async with self._changed:
            self._rounds.processed(trial, step)
            self._changed.notify_all()

    async def ended(self, trial: int) -> None:
        """Notes that a trial is over and its replacement, if there is one, proposed."""
        async with self._changed:
            self._rounds.ended(trial)
            self._changed.notify_all()

    async def starting(self, group: int) -> bool:
        """Counts a start of a group; false if it has died too often and must not load its base."""
        async with self._changed:
            self._starts[group] = self._starts.get(group, 0) + 1
            if group in self._ready:
                self._notes.append(f"worker group {group} died and starts again")
                self._changed.notify_all()
            if self._starts[group] > MAX_STARTS_WITHOUT_WORK:
                self._end(
                    f"worker group {group} died {self._starts[group] - 1} times in a row without "
                    "finishing any work; see the worker logs of Ray for the reason"
                )
            return not self._fatal

    async def limit_microbatches(self, group: int, tokens: int) -> None:
        """Bounds the later micro-batches of a group that is about to die for lack of memory."""
        self._microbatch_limits[group] = min(tokens, self._microbatch_limits.get(group, tokens))

    async def microbatch_limit(self, group: int) -> int | None:
        """Tokens that a micro-batch of the group may have; None for no known bound."""
        return self._microbatch_limits.get(group)

    async def attach(self, group: int) -> None:
        """Notes that a group has loaded its base, for the first time or after a crash."""
        async with self._changed:
            self._last_beat[group] = self._clock()
            self._rounds.crashed(group)
            self._ready.add(group)
            self._attached[group] = self._attached.get(group, 0) + 1
            self._changed.notify_all()

    async def kept(self, group: int) -> None:
        """Notes that a group has kept its batch before its machine is taken: that is no crash."""
        self._starts[group] = 0
        self._rounds.kept(group)

    async def stage(self, group: int, text: str) -> None:
        """Notes what a group does before it is ready."""
        self._stages[group] = text

    async def beat(self, group: int) -> None:
        """Notes that a group is alive."""
        self._last_beat[group] = self._clock()

    async def next_work(self, group: int, results: BatchResults | None) -> Work:
        """Takes the results of a group's last batch and waits `POLL_SECONDS` for its next one."""
        async with self._changed:
            self._last_beat[group] = self._clock()
            if results is not None:
                sound = self._received(BatchResults, results, "results")
                self._starts[group] = 0
                self._rounds.finish(group, sound or {})
                self._changed.notify_all()
            life = self._attached.get(group)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._changed.wait_for(
                        lambda: self._is_for(group) or self._attached.get(group) != life
                    )
            if self._attached.get(group) != life:  # the caller has died: it gets no batch
                return Work(stop=True)
            absent = self._absent(group)
            assignments = self._rounds.work(group, absent)
            self._changed.notify_all()  # taking over a dead group's batch may have failed a trial
            return Work(
                assignments=assignments,
                to_score=self._scoring.share(group, absent),
                stop=self._stopping or bool(self._fatal),
            )

    async def all_ready(self) -> None:
        """Waits until every group has loaded its base, or the search has failed."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._ready) == self._groups or self._fatal)

    async def note_steps(self, steps: Mapping[int, int]) -> None:
        """Notes the steps that a group's trials have done, for the progress display."""
        self._steps.update(steps)

    async def note(self, text: str) -> None:
        """Adds a note for the user; the same note is shown once."""
        async with self._changed:
            if text not in self._notes:
                self._notes.append(text)
                self._changed.notify_all()

    async def notes_after(self, count: int) -> tuple[str, ...]:
        """Waits for notes after the first `count`; empty when the search is over."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: len(self._notes) > count or self._stopping or self._fatal
            )
            return tuple(self._notes[count:])

    async def status(self) -> GroupStatus:
        """The state of the groups."""
        return GroupStatus(
            started=tuple(sorted(self._stages.keys() | self._starts.keys())),
            ready=tuple(sorted(self._ready)),
            stages=dict(self._stages),
            steps=dict(self._steps),
            fatal=self._fatal,
        )

    async def failure_of(self, trial: int) -> str:
        """Why a trial failed; empty if unknown."""
        return self._failures.get(trial, "") or self._fatal

    async def score(self, wanted: ToScore) -> Scored:
        """Has the groups score trials and the base, each its share, and waits for the scores.

        Returns:
            All scores; empty if the search has failed.
        """
        async with self._changed:
            self._scoring.ask(wanted)
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._scoring.is_done or bool(self._fatal))
            return self._scoring.scored if not self._fatal else Scored()

    async def scored(self, scored: Scored) -> None:
        """Takes scores that a group was asked for."""
        async with self._changed:
            sound = self._received(Scored, scored, "scored")
            if sound is not None:
                self._scoring.take(sound)
            self._changed.notify_all()

    async def give_up(self, reason: str) -> None:
        """Fails the search: every waiting trial gets the reason."""
        async with self._changed:
            self._end(reason)

    async def stop(self) -> None:
        """Tells the worker groups to end cleanly."""
        async with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def _received(self, kind: object, message: Message, name: str) -> Message | None:
        """The message if it is valid; else None, and the search ends."""
        try:
            sound: Message = received(kind, message, name)
        except SearchError as error:
            self._end(str(error))
            return None
        return sound

    def _end(self, reason: str) -> None:
        self._fatal = self._fatal or reason
        self._changed.notify_all()

    def _is_for(self, group: int) -> bool:
        if self._stopping or self._fatal:
            return True
        absent = self._absent(group)
        return self._rounds.has_work(group, absent) or bool(self._scoring.share(group, absent))

    def _absent(self, group: int) -> list[int]:
        """Other groups that have sent no heartbeat within `ABSENT_SECONDS`."""
        then = self._clock() - ABSENT_SECONDS
        others = (each for each in range(self._groups) if each != group)
        return [each for each in others if self._last_beat.get(each, then) <= then]
