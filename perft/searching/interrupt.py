"""Ctrl-C and SIGTERM, which `ray job stop` sends: a search stops cleanly; a second one aborts.

Nothing is lost either way: `--resume` resumes from what is saved.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from perft.errors import InterruptedSearchError
from perft.process import handlers_kept
from perft.search_folder import SEARCH_FILE
from perft.searching.settings import SearchSettings
from perft.selection import read_results
from perft.storage import Storage

STATUS = 130
"""Exit status of a search that was interrupted."""

STOP_SECONDS = 180.0
"""Time for a search to stop, and its process to end, after the first signal."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def interruptible(
    tell: Callable[[str], None], leave: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """Inside, the first signal raises `KeyboardInterrupt`, and the next ends the process at once.

    `STOP_SECONDS` after the first the process ends in any case: an exception in the middle of an
    import may leave a lock behind for which another thread waits, also at Python's own end.

    For a process that only runs a search: other processes keep their own handlers.

    Args:
        tell: shows the user a line.
        leave: gives the terminal back before the process ends at once.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_stopping = False

    def abort() -> None:
        leave()
        os._exit(STATUS)  # Ray's processes end with this one

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal is_stopping
        if is_stopping:
            abort()
        is_stopping = True
        tell("stopping, and keeping what there is; once more aborts")
        late = threading.Timer(STOP_SECONDS, abort)
        late.daemon = True
        late.start()
        raise KeyboardInterrupt

    with handlers_kept():
        for number in _SIGNALS:
            signal.signal(number, stop)
        yield


def interrupted(search: Storage, settings: SearchSettings) -> InterruptedSearchError:
    """The error that tells the user how to resume a search that was stopped."""
    if not search.exists(SEARCH_FILE):
        return InterruptedSearchError(
            f"search {settings.name!r} was interrupted before it began; "
            "start it again by the same command"
        )
    resume_by = settings.resume_by(settings.storage)
    of = "" if settings.num_trials is None else f" of {settings.num_trials}"
    return InterruptedSearchError(
        f"search {settings.name!r} was interrupted after {len(read_results(search))}{of} trials; "
        f"resume it by: {resume_by}"
    )
