"""Hears at once when a process has died that a search's own Ray cannot do without.

Ray ends the driver within a second of that, from C++: no `except` or `finally` of Python's runs.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

import psutil

from perft.compat.ray import VITAL

_LOOK_SECONDS = 0.05
"""Time between two looks at them: some of Ray's own come a second after, some a minute."""


def vital_processes() -> list[psutil.Process]:
    """What this process's own Ray cannot do without; nothing if it has joined another."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may just have ended
            if process.name().startswith(VITAL):
                found.append(process)
    return found


@contextlib.contextmanager
def watched(processes: Sequence[psutil.Process], died: Callable[[str], None]) -> Iterator[None]:
    """Inside, the first death among some processes is told.

    Args:
        processes: those to look at.
        died: is given the name of one that has died, in a thread of its own.
    """
    names = {process: process.name() for process in processes}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            for process, name in names.items():
                if not _lives(process):
                    died(name)
                    return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
