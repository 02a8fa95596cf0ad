"""The coordinator as other processes call it: the one place where Ray carries messages.

Tests put another class in its place, or have it call an actor of their own.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import ray

from perft.packing.messages import (
    BatchResults,
    GroupStatus,
    NextReport,
    Scores,
    Work,
    received,
)
from perft.trial import TrialConfig

if TYPE_CHECKING:
    from ray.actor import ActorHandle

ANSWER_SECONDS = 10.0
"""Time for the coordinator, which never works for long, to say something."""


class CoordinatorHandle:
    """Calls the coordinator of a search, which may live on another machine.

    A method that returns something, or says so, waits for the coordinator; the others only send.
    Whatever waits raises one of `deaths.DEATHS` when the coordinator has died, and `SearchError`
    for an answer that is not what it should be.

    Args:
        actor: Ray's handle of it.
    """

    def __init__(self, actor: "ActorHandle") -> None:
        self._actor = actor

    @classmethod
    def find(cls, name: str, namespace: str) -> "CoordinatorHandle":
        """The coordinator with that name.

        Raises:
            ValueError: if it has died.
        """
        return cls(ray.get_actor(name, namespace=namespace))

    # A thin trial.

    def next_report(self, trial: int, config: TrialConfig, after: int) -> NextReport:
        """Waits, without end, for the trial's report of a later step than `after`."""
        answer = ray.get(self._actor.next_report.remote(trial, config, after))
        report: NextReport = received(NextReport, answer, "next_report")
        return report

    # The driver.

    def processed(self, trial: int, step: int) -> None:
        """The search has acted on a report, and the trial goes on."""
        self._actor.processed.remote(trial, step)

    def ended(self, trial: int) -> None:
        """A trial is over, and the one in its place, if there is to be one, is proposed."""
        self._actor.ended.remote(trial)

    def failure_of(self, trial: int) -> str:
        """Why a trial failed; empty if nothing is known."""
        reason: str = received(str, ray.get(self._actor.failure_of.remote(trial)), "failure_of")
        return reason

    def status(self, timeout: float | None = None) -> GroupStatus:
        """How the worker groups are.

        Raises:
            GetTimeoutError: of Ray's, after so many seconds without an answer.
        """
        answer = ray.get(self._actor.status.remote(), timeout=timeout)
        status: GroupStatus = received(GroupStatus, answer, "status")
        return status

    def when_ready(self) -> Callable[[float], bool]:
        """Asks to be told when every group is ready, or none can work.

        Returns:
            Waits for that at most so many seconds, and says whether it has come.
        """
        answer = self._actor.all_ready.remote()
        return lambda seconds: bool(ray.wait([answer], timeout=seconds)[0])

    def notes_after(self, count: int) -> tuple[str, ...]:
        """Waits for what groups say after the first `count` notes; empty when all is over."""
        answer = ray.get(self._actor.notes_after.remote(count))
        notes: tuple[str, ...] = received(tuple[str, ...], answer, "notes_after")
        return notes

    def score(self, trials: Sequence[int]) -> Scores:
        """Waits until the groups have scored trials on the test splits; empty if none can work."""
        scores: Scores = received(Scores, ray.get(self._actor.score.remote(trials)), "score")
        return scores

    def stop(self) -> None:
        """Tells the worker groups to end cleanly, and waits until the coordinator knows."""
        ray.get(self._actor.stop.remote(), timeout=ANSWER_SECONDS)

    def kill(self) -> None:
        """Ends the coordinator."""
        ray.kill(self._actor)

    # A worker of a group.

    def starting(self, group: int) -> bool:
        """Whether a group may load its base: it has not died too often."""
        may_start: bool = received(bool, ray.get(self._actor.starting.remote(group)), "starting")
        return may_start

    def stage(self, group: int, text: str) -> None:
        """A group says what it is doing before it is ready."""
        self._actor.stage.remote(group, text)

    def microbatch_limit(self, group: int) -> int | None:
        """Tokens that a micro-batch of the group may have; None while nothing is known of it."""
        answer = ray.get(self._actor.microbatch_limit.remote(group))
        limit: int | None = received(int | None, answer, "microbatch_limit")
        return limit

    def limit_microbatches(self, group: int, tokens: int) -> None:
        """A group is about to die for want of memory; waits until the coordinator knows."""
        ray.get(self._actor.limit_microbatches.remote(group, tokens))

    def attach(self, group: int) -> None:
        """A group has loaded its base; waits until the coordinator knows."""
        ray.get(self._actor.attach.remote(group))

    def beat(self, group: int) -> None:
        """A group says that it is at work."""
        self._actor.beat.remote(group)

    def next_work(self, group: int, results: BatchResults | None) -> Work:
        """Hands in what became of the last batch, if there was one, and waits for what is next."""
        answer = ray.get(self._actor.next_work.remote(group, results))
        work: Work = received(Work, answer, "next_work")
        return work

    def scored(self, scores: Scores) -> None:
        """Hands in scores that the group was asked for; waits until the coordinator has them."""
        ray.get(self._actor.scored.remote(scores))

    def note(self, text: str) -> None:
        """A group has something to say that the user should know."""
        self._actor.note.remote(text)

    def note_steps(self, steps: Mapping[int, int]) -> None:
        """A group says how far its trials are, for whoever watches."""
        self._actor.note_steps.remote(steps)

    def give_up(self, reason: str, timeout: float | None = None) -> None:
        """No group can work any more, and the search ends; waits until the coordinator knows."""
        ray.get(self._actor.give_up.remote(reason), timeout=timeout)
