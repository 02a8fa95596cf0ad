"""Searches started as a user starts them, and watched from outside: their log, their processes."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from family import Family, cpu_seconds

REPOSITORY = Path(__file__).parents[2]
SEARCH = ("jobs/search.py",)
SPACE = ("--space", "arithmetic")
ON_CPUS = {"CUDA_VISIBLE_DEVICES": ""}
"""Whatever this machine has: two groups of two workers would need four GPUs."""
MAX_STEPS, TRIALS = 40, 6
SIZE = ("--max-steps", str(MAX_STEPS), "--validation-size", "40", "--num-trials", str(TRIALS))
FIRST_ROUND = 4
"""Trials that a search of SIZE has running at first, in one group of 4 slots or two of 2."""

NO_VARIABLES: Mapping[str, str] = {}

REFERENCE = "undisturbed"
"""Name of the search that the others are compared with."""

WORKER, THIN_TRIAL = "ray::RayTrainWorker", "ray::ResourceTrainable"
CONTROLLER, MEETING_POINT = "ray::TrainController", "ray::Coordinator"
_RUNG = re.compile(r"^\[\d+:\d\d\] trial +\d+  step ", re.MULTILINE)
HANGING_SECONDS = 600.0
"""A program that takes longer has hung, however busy the machine is."""
_WORK = 0.2  # processor seconds by which a worker is seen to train


class Job:
    """A program of this project with everything it starts.

    Args:
        home: PERFT_HOME of the program; the user's own home is in it.
        program: what the Python interpreter is called with.
        inside: a command that runs another one.
        environment: variables beside those of the test.
    """

    def __init__(
        self,
        home: Path,
        *program: str,
        inside: Sequence[str] = (),
        environment: Mapping[str, str] = NO_VARIABLES,
    ) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.family = Family(home)
        self.user = home / "user"
        self.user.mkdir(exist_ok=True)
        self._log = home / f"log-{time.monotonic_ns()}"
        self._errors = self._log.with_suffix(".errors")
        with self._log.open("wb") as log, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [*inside, sys.executable, *program],
                cwd=REPOSITORY,
                env={
                    **os.environ,
                    **ON_CPUS,
                    "HOME": str(self.user),
                    "PERFT_HOME": str(home),
                    "COLUMNS": "200",
                    "PYTHONFAULTHANDLER": "1",
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=errors,
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    @property
    def rungs(self) -> int:
        """Reports that the search has shown so far."""
        return len(_RUNG.findall(self.output))

    @property
    def listening(self) -> set[str]:
        """Addresses that the program's processes listen on."""
        found = set()
        for pid in self.family.look():
            with contextlib.suppress(psutil.Error):  # it may just have ended
                ports = psutil.Process(pid).net_connections("inet")
                found |= {port.laddr.ip for port in ports if port.status == psutil.CONN_LISTEN}
        return found

    @property
    def status(self) -> int | None:
        """Exit status; None while the program runs."""
        return self._process.poll()

    @property
    def workers(self) -> list[int]:
        """Ids of the living train workers."""
        return self.family.titled(WORKER)

    def until(self, true: Callable[[], Any]) -> None:
        """Waits; it is a failure if the program ends before."""
        hanging = time.monotonic() + HANGING_SECONDS
        while not true():
            assert self._process.poll() is None, f"ended early:\n{self.output}\n{self.errors}"
            self._must_not_hang(hanging)
            time.sleep(0.05)

    def end(self) -> int:
        """Waits for the exit status."""
        hanging = time.monotonic() + HANGING_SECONDS
        while (status := self.status) is None:
            self.family.look()
            self._must_not_hang(hanging)
            time.sleep(0.2)
        return status

    def _must_not_hang(self, until: float) -> None:
        """Fails with the stacks of the program's threads when it is too late."""
        if time.monotonic() > until:
            self._process.send_signal(signal.SIGABRT)  # Python shows all stacks then
            self._process.wait()
            raise AssertionError(f"it hangs:\n{self.output}\n{self.errors}")

    def kill_worker_at_work(self, after: int) -> int:
        """`kill -9` of a train worker while it trains; the id it had.

        Args:
            after: how many reports the search must have shown before.
        """
        worker = self._worker_at_work(after)
        os.kill(worker, signal.SIGKILL)
        return worker

    def kill_at_work(self, title: str, after: int) -> None:
        """`kill -9` of the first process of that title while a worker trains."""
        self._worker_at_work(after)
        os.kill(self.family.titled(title)[0], signal.SIGKILL)

    def kill_driver_at_work(self, after: int) -> None:
        """`kill -9` of the program while a worker trains; waits until no worker is left."""
        self._worker_at_work(after)
        self.kill()
        self.wait_for_workers()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Its train workers stand still meanwhile, so that no trial goes on or ends."""
        workers = self.workers
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        yield
        for worker in workers:
            os.kill(worker, signal.SIGCONT)

    def wait_for_workers(self) -> None:
        """Waits until no worker is left; Ray's agents look for their raylet for a minute."""
        while self.workers:
            time.sleep(0.05)

    def kill(self) -> None:
        """`kill -9` of the program."""
        self._process.kill()
        self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """A signal, such as that of Ctrl-C."""
        self._process.send_signal(number)

    def interrupt_at_work(self, after: int) -> None:
        """Ctrl-C while a worker trains."""
        self._worker_at_work(after)
        self._process.send_signal(signal.SIGINT)

    def _worker_at_work(self, after: int) -> int:
        self.until(lambda: self.rungs >= after)
        worker = self.workers[0]
        before = cpu_seconds(worker)
        self.until(lambda: cpu_seconds(worker) > before + _WORK)
        return worker


def starter(home: Path) -> Iterator[Callable[..., Job]]:
    """Yields what starts programs; at its end kills what is left of them."""
    jobs: list[Job] = []

    def start(*program: str, home: Path = home, **options: Any) -> Job:
        jobs.append(Job(home, *program, **options))
        return jobs[-1]

    try:
        yield start
    finally:
        for job in jobs:
            job.family.end()
