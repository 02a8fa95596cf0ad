"""Detects at once the death of a process that a search's own Ray needs.

Ray then ends the driver within a second, from C++: no `except` or `finally` of Python runs.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

import psutil

from perft.compat.ray import VITAL

_LOOK_SECONDS = 0.05
"""Time between two looks: Ray ends the driver a second after some deaths."""


def vital_processes() -> list[psutil.Process]:
    """The processes that this process's own Ray needs; empty if it has joined a cluster."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it may just have ended
            if process.name().startswith(VITAL):
                found.append(process)
    return found


@contextlib.contextmanager
def watched(processes: Sequence[psutil.Process], died: Callable[[str], None]) -> Iterator[None]:
    """Inside, calls `died` at the first death among some processes.

    Args:
        processes: the processes to watch.
        died: called in a separate thread with the name of the process that died.
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
