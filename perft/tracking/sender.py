"""Sends changed records of a search to its tracker, in a thread.

Training never waits for a tracker. A record that cannot be sent stays queued, and is tried again
until the tracker accepts it or the process ends.
"""

import threading
import time
from collections.abc import Callable

from perft.errors import StorageError, first_line
from perft.masking import masked
from perft.tracking.tracker import Runs

PATIENCE_SECONDS = 15.0
"""Time without a successful send after which the user is told."""

_PAUSES = (0.5, 1.0, 2.0, 5.0)  # seconds before another try; then always the last


def reason(error: StorageError) -> str:
    """Why a place takes no records, without the advice of the error."""
    return masked(first_line(error.__cause__ or error))


class Sender:
    """A queue of records to send, and the thread that sends them.

    Args:
        connect: opens the runs; raises `StorageError` if it cannot.
        runs: the open runs; None if they could not be opened, which the user has been told.
        tell_away: called once when nothing could be sent for `PATIENCE_SECONDS`.
        tell_back: called when all is sent after that.

    Attributes:
        run_ids: by number, the ids of trials' runs.
        is_away: whether nothing could be sent for long.
        why: why the last try failed.
    """

    def __init__(
        self,
        connect: Callable[[], Runs],
        runs: Runs | None,
        tell_away: Callable[[], None],
        tell_back: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._runs = runs
        self._tell_away, self._tell_back = tell_away, tell_back
        self._changed = threading.Condition()
        self._queue: dict[int | None, Callable[[Runs], None]] = {}
        self._sent_at = time.monotonic()  # or when the queue was last empty
        self._failures = 0  # in a row
        self._is_closed = False
        self.run_ids: dict[int, str] = runs.ids if runs else {}
        self.is_away = runs is None
        self.why = "no answer yet"
        for work in (self._send, self._watch):
            threading.Thread(target=work, daemon=True).start()

    def put(self, key: int | None, send: Callable[[Runs], None]) -> None:
        """Queues a call, replacing one that waits under the same key."""
        with self._changed:
            if not self._queue:
                self._sent_at = time.monotonic()
            self._queue[key] = send
            self._changed.notify_all()

    def wait(self, patience: float = PATIENCE_SECONDS) -> bool:
        """Waits until all is sent; False if nothing could be sent for `patience` seconds.

        A first try gets four times that: it may upload a large file.
        """
        started = time.monotonic()
        with self._changed:
            while self._queue and not self._is_closed:
                allowed = patience if self._failures or self.is_away else 4 * patience
                left = max(started, self._sent_at) + allowed - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return not self._queue

    def close(self) -> None:
        """Stops sending, and ends the threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _send(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._is_closed)
                if self._is_closed:
                    return
                key, send = next(iter(self._queue.items()))
            try:
                self._runs = self._runs or self._connect()
                send(self._runs)
            except StorageError as error:
                self._failed(key, error)
            else:
                self._done(key, send, self._runs.ids)

    def _failed(self, key: int | None, error: StorageError) -> None:
        # If the answer was lost, the tracker may have done it: look it up anew.
        self._runs = None
        with self._changed:
            self.why = reason(error)
            self._queue[key] = self._queue.pop(key)  # to the end, so that others are tried first
            pause = _PAUSES[min(self._failures, len(_PAUSES) - 1)]
            self._failures += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_closed, pause)

    def _done(self, key: int | None, send: Callable[[Runs], None], run_ids: dict[int, str]) -> None:
        with self._changed:
            self.run_ids = run_ids
            self._sent_at = time.monotonic()
            self._failures = 0
            if self._queue[key] is send:
                del self._queue[key]
            is_back = self.is_away and not self._queue
            self.is_away = self.is_away and not is_back
            self._changed.notify_all()
        if is_back:
            self._tell_back()

    def _is_waiting(self) -> bool:
        """Whether something waits and the tracker is not known to be away."""
        return bool(self._queue) and not self.is_away

    def _watch(self) -> None:
        """Calls `tell_away` when nothing could be sent for long, also while a call hangs."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or self._is_waiting())
                if self._is_closed:
                    return
                left = self._sent_at + PATIENCE_SECONDS - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                self.is_away = True
            self._tell_away()
