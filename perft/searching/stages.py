"""Shows what a search is doing, from its start: timed lines on the console."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console

from perft.files import Json

QUIET_SECONDS = 1.0
"""Time after which a step is announced to the user."""

During = Callable[[str], contextlib.AbstractContextManager[None]]
"""Announces a step that takes long, like `Stages.during`."""


def quietly(_text: str) -> contextlib.AbstractContextManager[None]:
    """A `During` that announces nothing."""
    return contextlib.nullcontext()


def untold(_kind: str, **_fields: Json) -> None:
    """Tells no program of an event."""


class Stages:
    """The lines of one search.

    Args:
        console: where they are printed.
        event: tells a program of an event, as `perft.screen.Output.event` does.
    """

    def __init__(self, console: Console, event: Callable[..., None] = untold) -> None:
        self.console = console
        self.event = event
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def clock(self) -> str:
        """Minutes and seconds since the start, such as "1:05"."""
        minutes, seconds = divmod(int(self.seconds), 60)
        return f"{minutes}:{seconds:02d}"

    def say(self, text: str) -> None:
        """Shows a line, which stays on screen, and tells a program of it."""
        self.event("stage", seconds=round(self.seconds, 3), text=text)
        self.show(text)

    def show(self, text: str) -> None:
        """Shows a line, which stays on screen."""
        self.console.print(f"[{self.clock}] {text}", highlight=False, markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def during(self, text: str) -> Iterator[None]:
        """Shows `text` if the block takes more than `QUIET_SECONDS`."""
        timer = threading.Timer(QUIET_SECONDS, self.say, (text,))
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
