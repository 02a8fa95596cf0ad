"""Goes on with a search whose own Ray has died under it, in a fresh Ray, as `--resume` would.

The process is replaced by a new one of the same id: what Ray has in this one cannot be undone.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import psutil

from perft.search.lock import unlock
from perft.search.watch import vital_processes, watched
from perft.storage import Storage

RAYS_WITHOUT_PROGRESS = 4
"""Rays that may die with no new report between before the search gives up."""

_DIED = "PERFT_RAYS_DIED"
"""Environment: reports that there were when a Ray died, and how many have died since the last."""


@dataclass(frozen=True, kw_only=True)
class Restart:
    """How a search goes on.

    Attributes:
        command: program and arguments that go on with it; nothing if it is to end instead.
        name: the search's.
        search: its folder.
        environment: of this process before it started Ray.
        tell: shows the user a line.
    """

    command: Sequence[str]
    name: str
    search: Storage
    environment: Mapping[str, str]
    tell: Callable[[str], None]

    def clear(self) -> None:
        """Ends what a process that this one has replaced has left of its Ray, and its lock.

        That one had no time for it: with its Ray it would have ended within a second.
        """
        if _DIED in self.environment:
            _end(psutil.Process().children(recursive=True))
            unlock(self.search)

    @contextlib.contextmanager
    def when_ray_dies(self, reports: Callable[[], int]) -> Iterator[None]:
        """Inside, the search goes on in a new process when the Ray of this one dies.

        Args:
            reports: how many the search has had so far.
        """
        if not self.command:
            yield
            return
        with watched(vital_processes(), lambda process: self._go_on(process, reports())):
            yield

    def _go_on(self, process: str, reports: int) -> NoReturn:
        died = deaths(reports, self.environment)
        if died >= RAYS_WITHOUT_PROGRESS:
            print(
                f"error: Ray's process {process} has died, as {died} Rays in a row did; go on with "
                f"search {self.name!r} by --resume {self.name}",
                file=sys.stderr,
                flush=True,
            )
            unlock(self.search)
            os._exit(2)  # the main thread waits for a Ray that is gone
        self.tell(f"Ray's process {process} has died; the search goes on from what is saved")
        sys.stdout.flush()
        _close_on_exec()
        known = {**self.environment, _DIED: f"{reports} {died}"}
        os.execve(self.command[0], list(self.command), known)  # noqa: S606 - our own command


def deaths(reports: int, environment: Mapping[str, str]) -> int:
    """How many Rays have died without a report between, this one included."""
    known, _, died = environment.get(_DIED, "").partition(" ")
    return 1 + int(died) if known == str(reports) and died.isdecimal() else 1


def _end(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def _close_on_exec() -> None:
    """Has no file or connection of Ray's library reach the new process."""
    for number in map(int, os.listdir("/dev/fd")):  # noqa: PTH208 - names, not paths
        if number > 2:
            with contextlib.suppress(OSError):  # the one that listed them
                os.set_inheritable(number, False)
