"""Shows what a search is doing, from its start: timed lines on the console."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console

QUIET_SECONDS = 1.0
"""Time after which a step is announced to the user."""

During = Callable[[str], contextlib.AbstractContextManager[None]]
"""Announces a step that takes long, like `Stages.during`."""


def quietly(_text: str) -> contextlib.AbstractContextManager[None]:
    """A `During` that announces nothing."""
    return contextlib.nullcontext()


class Stages:
    """The lines of one search.

    Args:
        console: where they are printed.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._started = time.monotonic()

    @property
    def clock(self) -> str:
        """Minutes and seconds since the start, such as "1:05"."""
        minutes, seconds = divmod(int(time.monotonic() - self._started), 60)
        return f"{minutes}:{seconds:02d}"

    def say(self, text: str) -> None:
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
