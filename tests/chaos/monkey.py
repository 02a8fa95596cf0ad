"""Kills processes of a search at random moments, and goes on with it where nobody else does."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from searches import CONTROLLER, MEETING_POINT, SEARCH, THIN_TRIAL, WORKER, Job

DRIVER = "the driver"
VICTIMS = (
    WORKER,
    THIN_TRIAL,
    CONTROLLER,
    MEETING_POINT,
    DRIVER,
    "ray::DashboardAgent",
    "raylet",
    "gcs_server",
)
"""How the titles of processes begin, or their programs' names: without each, something ends."""

LONGEST_WAIT = 6.0
"""Seconds between what the monkey waits for and the kill, at most."""


@dataclass
class Monkey:
    """Kills, and writes down what it has killed.

    Attributes:
        start: starts a program as `Job` does.
        first: the command of the search.
        name: the search's.
        random: says whom and when.
        killed: whom, so far.
    """

    start: Callable[..., Job]
    first: tuple[str, ...]
    name: str
    random: random.Random
    killed: list[str] = field(default_factory=list)

    def run(self, kills: int) -> Job:
        """Runs the search to its end, with so many kills on the way if there is time."""
        job = self.start(*self.first)
        for _ in range(kills):
            if self._wait(job):
                self._kill(job)
            if job.status is not None:
                if job.status == 0:
                    break
                job = self._go_on(job)
        job.end()
        return job

    def _wait(self, job: Job) -> bool:
        """Waits for a moment; whether the search is still running then."""
        signs = (
            lambda: True,
            lambda: job.workers,
            lambda: job.rungs > seen,
            lambda: job.rungs > seen + 2,
        )
        seen, sign = job.rungs, self.random.choice(signs)
        while job.status is None and not sign():
            time.sleep(0.05)
        until = time.monotonic() + self.random.uniform(0, LONGEST_WAIT)
        while job.status is None and time.monotonic() < until:
            time.sleep(0.02)
        return job.status is None

    def _kill(self, job: Job) -> None:
        """Kills a random one of the victims that live."""
        for victim in self.random.sample(VICTIMS, len(VICTIMS)):
            if victim == DRIVER:
                job.kill()
            elif pids := job.family.called(victim):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.random.choice(pids), signal.SIGKILL)
            else:
                continue
            self.killed.append(victim)
            return

    def _go_on(self, job: Job) -> Job:
        """Runs the search again once no worker of it is left."""
        job.wait_for_workers()
        begun = (job.home / "searches" / self.name / "search.json").exists()
        return self.start(*((*SEARCH, "--resume", self.name) if begun else self.first))
