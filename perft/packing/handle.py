"""How other processes call the coordinator: the only module that sends messages through Ray.

Tests replace the class, or give it an actor of their own.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import ray

from perft.packing.messages import (
    BatchResults,
    GroupStatus,
    NextReport,
    Scored,
    ToScore,
    Work,
    received,
)
from perft.trial import Origin, TrialConfig

if TYPE_CHECKING:
    from ray.actor import ActorHandle

ANSWER_SECONDS = 10.0
"""Timeout of calls that the coordinator answers at once."""


class CoordinatorHandle:
    """Calls the coordinator of a search, which may live on another machine.

    A method waits for the coordinator if it returns something or its docstring says so; the others
    only send. Methods that wait raise one of `deaths.DEATHS` when the coordinator has died, and
    `SearchError` for an invalid answer.

    Args:
        actor: Ray's handle to it.
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

    def next_report(
        self, trial: int, config: TrialConfig, after: int, origin: Origin | None = None
    ) -> NextReport:
        """Waits, without a timeout, for the trial's first report after step `after`."""
        answer = ray.get(self._actor.next_report.remote(trial, config, after, origin))
        report: NextReport = received(NextReport, answer, "next_report")
        return report

    # The driver.

    def expect(self, num_trials: int) -> None:
        """Says how many trials the whole search has, as far as known now."""
        self._actor.expect.remote(num_trials)

    def processed(self, trial: int, step: int) -> None:
        """Says that the search has acted on a report, and that the trial continues."""
        self._actor.processed.remote(trial, step)

    def ended(self, trial: int) -> None:
        """Says that a trial is over and its replacement, if there is one, proposed."""
        self._actor.ended.remote(trial)

    def failure_of(self, trial: int) -> str:
        """Why a trial failed; empty if unknown."""
        reason: str = received(str, ray.get(self._actor.failure_of.remote(trial)), "failure_of")
        return reason

    def status(self, timeout: float | None = None) -> GroupStatus:
        """The state of the worker groups.

        Raises:
            GetTimeoutError: Ray's, after `timeout` seconds without an answer.
        """
        answer = ray.get(self._actor.status.remote(), timeout=timeout)
        status: GroupStatus = received(GroupStatus, answer, "status")
        return status

    def when_ready(self) -> Callable[[float], bool]:
        """Asks the coordinator when every group is ready, or the search has failed.

        Returns:
            A function that waits up to a number of seconds and says whether that has happened.
        """
        answer = self._actor.all_ready.remote()
        return lambda seconds: bool(ray.wait([answer], timeout=seconds)[0])

    def notes_after(self, count: int) -> tuple[str, ...]:
        """Waits for notes after the first `count`; empty when the search is over."""
        answer = ray.get(self._actor.notes_after.remote(count))
        notes: tuple[str, ...] = received(tuple[str, ...], answer, "notes_after")
        return notes

    def score(self, wanted: ToScore) -> Scored:
        """Waits for the groups' scores of trials and of the base; empty if the search failed."""
        scored: Scored = received(Scored, ray.get(self._actor.score.remote(wanted)), "score")
        return scored

    def stop(self) -> None:
        """Tells the worker groups to end cleanly, and waits until the coordinator knows."""
        ray.get(self._actor.stop.remote(), timeout=ANSWER_SECONDS)

    def kill(self) -> None:
        """Ends the coordinator."""
        ray.kill(self._actor)

    # A worker of a group.

    def starting(self, group: int) -> bool:
        """Whether a group may load its base; false if it has died too often."""
        may_start: bool = received(bool, ray.get(self._actor.starting.remote(group)), "starting")
        return may_start

    def stage(self, group: int, text: str) -> None:
        """Says what a group does before it is ready."""
        self._actor.stage.remote(group, text)

    def microbatch_limit(self, group: int) -> int | None:
        """Tokens that a micro-batch of the group may have; None for no known bound."""
        answer = ray.get(self._actor.microbatch_limit.remote(group))
        limit: int | None = received(int | None, answer, "microbatch_limit")
        return limit

    def limit_microbatches(self, group: int, tokens: int) -> None:
        """Bounds the later micro-batches of a group about to die for lack of memory; waits."""
        ray.get(self._actor.limit_microbatches.remote(group, tokens))

    def attach(self, group: int) -> None:
        """Says that a group has loaded its base; waits until the coordinator knows."""
        ray.get(self._actor.attach.remote(group))

    def kept(self, group: int) -> None:
        """Says that a group has kept the state of its batch: its machine is about to be taken."""
        self._actor.kept.remote(group)

    def beat(self, group: int) -> None:
        """Says that a group is alive."""
        self._actor.beat.remote(group)

    def next_work(self, group: int, results: BatchResults | None) -> Work:
        """Hands in the results of a group's last batch, if any, and waits for its next work."""
        answer = ray.get(self._actor.next_work.remote(group, results))
        work: Work = received(Work, answer, "next_work")
        return work

    def scored(self, scored: Scored) -> None:
        """Hands in scores that the group was asked for; waits until the coordinator has them."""
        ray.get(self._actor.scored.remote(scored))

    def note(self, text: str) -> None:
        """Sends a note for the user."""
        self._actor.note.remote(text)

    def note_steps(self, steps: Mapping[int, int]) -> None:
        """Says how many steps a group's trials have done, for the progress display."""
        self._actor.note_steps.remote(steps)

    def give_up(self, reason: str, timeout: float | None = None) -> None:
        """Fails the search for the reason given; waits until the coordinator knows."""
        ray.get(self._actor.give_up.remote(reason), timeout=timeout)
