"""Resumes a search whose own Ray has died, in a fresh Ray, as `--resume` would.

A new process with the same id replaces this one: Ray's state in this one cannot be reset.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import psutil

from perft.searching.lock import unlock
from perft.searching.watch import vital_processes, watched
from perft.storage import Storage

RAYS_WITHOUT_PROGRESS = 4
"""Rays that may die, with no new report between them, before the search gives up."""

_DIED = "PERFT_RAYS_DIED"
"""Environment: number of reports when a Ray last died, and of Rays that died since a report."""


@dataclass(frozen=True, kw_only=True)
class Restart:
    """How a search restarts when its Ray dies.

    Attributes:
        command: program and arguments that resume it; empty if it must end instead.
        name: the search's.
        search: its folder.
        environment: of this process before it started Ray.
        tell: shows the user a line.
        leave: gives the terminal back before this process is replaced or ends.
    """

    command: Sequence[str]
    name: str
    search: Storage
    environment: Mapping[str, str]
    tell: Callable[[str], None]
    leave: Callable[[], None] = lambda: None

    def clear(self) -> None:
        """Ends the Ray processes and the lock left by the process that this one has replaced.

        That one had no time for it: it would have ended with its Ray within a second.
        """
        if _DIED in self.environment:
            _end(psutil.Process().children(recursive=True))
            unlock(self.search)

    @contextlib.contextmanager
    def when_ray_dies(self, reports: Callable[[], int]) -> Iterator[None]:
        """Inside, the search resumes in a new process when the Ray of this one dies.

        Args:
            reports: returns the number of reports so far.
        """
        if not self.command:
            yield
            return
        with watched(vital_processes(), lambda process: self._resume(process, reports())):
            yield

    def _resume(self, process: str, reports: int) -> NoReturn:
        died = deaths(reports, self.environment)
        if died >= RAYS_WITHOUT_PROGRESS:
            self.leave()
            print(
                f"error: Ray's process {process} has died, as {died} Rays in a row did; resume "
                f"search {self.name!r} by --resume {self.name}",
                file=sys.stderr,
                flush=True,
            )
            unlock(self.search)
            os._exit(2)  # the main thread waits for a Ray that is gone
        self.leave()
        self.tell(f"Ray's process {process} has died; the search resumes from what is saved")
        sys.stdout.flush()
        _close_on_exec()
        known = {**self.environment, _DIED: f"{reports} {died}"}
        os.execve(self.command[0], list(self.command), known)  # noqa: S606 - our own command


def deaths(reports: int, environment: Mapping[str, str]) -> int:
    """How many Rays have died since the last new report, this one included."""
    known, _, died = environment.get(_DIED, "").partition(" ")
    return 1 + int(died) if known == str(reports) and died.isdecimal() else 1


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _close_on_exec() -> None:
    """Keeps open files and connections of Ray's library from the new process."""
    for number in map(int, os.listdir("/dev/fd")):  # noqa: PTH208 - names, not paths
        if number > 2:
            with contextlib.suppress(OSError):  # the one that `listdir` used
                os.set_inheritable(number, False)
