"""Continuous batching: who is in the batch, token by token.

Everything here runs on one event loop; the tensor work of a step runs on one thread beside it. A
request joins between two tokens and leaves when it has ended or its client is gone.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, Protocol

from perft.serving.batch import Row, Written
from perft.serving.limits import Limits
from perft.serving.refusals import RefusalError, busy, closing, failed, too_slow

MAX_PROMPT_TOKENS = 16_384
"""Most padded prompt tokens that join at a time: meanwhile, no other row gets a token."""

_LOG = logging.getLogger("perft.serving")

EndReason = Literal["stop", "length"]
"""End of sequence (or a stop text), or as many tokens as were asked for."""


class Batch(Protocol):
    """`RunningBatch`, as the engine uses it."""

    def advance(self, joining: Sequence[Row], leaving: Collection[Row]) -> Written:
        """Drops and adds rows, and writes tokens."""

    def clear(self) -> None:
        """Drops every row."""


@dataclass(frozen=True)
class Event:
    """What has become of a row: a token, or its end.

    Attributes:
        index: the row's number in its request.
        token: the token; None at the end.
        end: why it has ended; None before.
    """

    index: int
    token: int | None = None
    end: EndReason | None = None


@dataclass(eq=False)
class Request:
    """Rows of one client.

    Attributes:
        rows: what is to be written.
        max_new_tokens: most new tokens of each.
    """

    rows: Sequence[Row]
    max_new_tokens: int
    _events: "asyncio.Queue[Event | RefusalError]" = field(default_factory=asyncio.Queue)
    _new: dict[Row, int] = field(default_factory=dict)

    async def events(self, timeout: float) -> AsyncIterator[Event]:
        """What becomes of the rows, until all have ended.

        Args:
            timeout: seconds until then.

        Raises:
            RefusalError: if the server fails or ends before, or the time is over.
        """
        ended: set[int] = set()
        deadline = asyncio.get_running_loop().time() + timeout
        while len(ended) < len(self.rows):
            try:
                async with asyncio.timeout_at(deadline):
                    event = await self._events.get()
            except TimeoutError:
                raise too_slow(timeout) from None
            if isinstance(event, RefusalError):
                raise event
            if event.end is not None:
                ended.add(event.index)
            yield event

    def tell(self, event: Event | RefusalError) -> None:
        """Adds an event."""
        self._events.put_nowait(event)

    def counts(self, row: Row) -> int:
        """Counts a new token of a row, and returns how many it has."""
        self._new[row] = self._new.get(row, 0) + 1
        return self._new[row]


class Engine:
    """Takes requests and has the batch write them.

    Args:
        batch: writes tokens.
        limits: rows of the batch, and of those who wait.
        ends: token ids that end a row.
    """

    def __init__(self, batch: Batch, limits: Limits, ends: Collection[int]) -> None:
        self._batch, self._limits, self._ends = batch, limits, frozenset(ends)
        self._waiting: deque[tuple[Request, Row]] = deque()
        self._running: dict[Row, Request] = {}
        self._leaving: list[Row] = []
        self._work = asyncio.Event()
        self._closed = False
        self.steps = 0

    @property
    def waiting(self) -> int:
        """Rows that wait for a place."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Rows in the batch."""
        return len(self._running)

    def submit(self, request: Request) -> None:
        """Queues a request's rows.

        Raises:
            RefusalError: if too many wait already, or the server is about to end.
        """
        if self._closed:
            raise closing()
        room = self._limits.max_waiting + self._limits.max_batch - self.running
        if self.waiting + len(request.rows) > room:
            raise busy(self.waiting)
        self._waiting.extend((request, row) for row in request.rows)
        self._work.set()

    def stop(self, request: Request, index: int) -> None:
        """Ends one row of a request where it is."""
        self._drop([request.rows[index]])
        request.tell(Event(index, end="stop"))

    def cancel(self, request: Request) -> None:
        """Drops all rows of a request: they get no further token."""
        self._drop(request.rows)

    def _drop(self, rows: Sequence[Row]) -> None:
        gone = set(rows)
        self._waiting = deque(each for each in self._waiting if each[1] not in gone)
        for row in gone & self._running.keys():
            self._leave(row)

    def close(self) -> None:
        """Takes no further request."""
        self._closed = True

    def end_all(self) -> None:
        """Ends every request with the error that the server is shutting down."""
        self._fail(closing())

    async def run(self) -> None:
        """Writes for ever; cancel it to end."""
        with ThreadPoolExecutor(1, "perft-serving") as thread:
            while True:
                await self._work.wait()
                await self._advance(thread)

    async def _advance(self, thread: ThreadPoolExecutor) -> None:
        joining, leaving = self._admitted(), self._leaving
        self._leaving = []
        loop = asyncio.get_running_loop()
        try:
            written = await loop.run_in_executor(thread, self._batch.advance, joining, leaving)
        except Exception:  # of the base's code, or no memory: the next requests may fare better
            _LOG.exception("a step of the batch failed")
            self._fail(failed())
            self._leaving = []
            await loop.run_in_executor(thread, self._batch.clear)
            return
        self.steps += bool(written)
        for row, token in written:
            self._deliver(row, token)
        if not (self._waiting or self._running or self._leaving):
            self._work.clear()

    def _admitted(self) -> list[Row]:
        """The rows that join now, first come, first served."""
        joining: list[Row] = []
        longest = 0
        while self._waiting and self.running < self._limits.max_batch:
            request, row = self._waiting[0]
            longest = max(longest, len(row.ids))
            if joining and longest * (len(joining) + 1) > MAX_PROMPT_TOKENS:
                break
            self._waiting.popleft()
            self._running[row] = request
            joining.append(row)
        return joining

    def _deliver(self, row: Row, token: int) -> None:
        request = self._running.get(row)
        if request is None:  # cancelled during the step
            return
        index = request.rows.index(row)
        if token in self._ends:
            request.tell(Event(index, end="stop"))
            self._leave(row)
            return
        request.tell(Event(index, token))
        if request.counts(row) == request.max_new_tokens:
            request.tell(Event(index, end="length"))
            self._leave(row)

    def _leave(self, row: Row) -> None:
        del self._running[row]
        self._leaving.append(row)
        self._work.set()

    def _fail(self, error: RefusalError) -> None:
        requests = {request for request, _ in self._waiting} | set(self._running.values())
        self._waiting.clear()
        for row in list(self._running):
            self._leave(row)
        for request in requests:
            request.tell(error)
