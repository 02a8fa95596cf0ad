"""Shows what a search is doing, from its start: timed lines on the console."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from perft.files import Json

QUIET_SECONDS = 1.0
"""Time after which a step is announced to the user."""

LEAVE = "\x1b[?1049l\x1b[?25h"
"""Makes a terminal show the screen and the cursor that a live view has hidden."""

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
        self._tell = event
        self._started = time.monotonic()
        self._waiting: Live | None = None
        self._instead: Callable[[str], None] | None = None

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def clock(self) -> str:
        """Minutes and seconds since the start, such as "1:05"."""
        minutes, seconds = divmod(int(self.seconds), 60)
        return f"{minutes}:{seconds:02d}"

    @property
    def is_live(self) -> bool:
        """Whether a person watches a terminal that can show what moves."""
        console = self.console
        return console.is_terminal and not (console.is_dumb_terminal or console.quiet)

    def event(self, kind: str, **fields: Json) -> None:
        """Tells a program of an event, with the seconds since the start."""
        self._tell(kind, seconds=round(self.seconds, 3), **fields)

    def say(self, text: str) -> None:
        """Shows a line, which stays on screen, and tells a program of it."""
        self.event("stage", text=text)
        self.show(text)

    def show(self, text: str) -> None:
        """Shows a line, which stays on screen."""
        line = f"[{self.clock}] {text}"
        if self._instead is not None:
            self._instead(line)
        else:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

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

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, a terminal shows below the lines that the search is alive."""
        if not self.is_live:
            yield
            return
        spinner = Spinner("dots")

        def show() -> Spinner:
            spinner.update(text=self.clock)
            return spinner

        self._waiting = Live(get_renderable=show, console=self.console, transient=True)
        try:
            with self._waiting:
                yield
        finally:
            self._waiting = None

    @contextlib.contextmanager
    def replaced(self, show: Callable[[str], None]) -> Iterator[None]:
        """Inside, a live view has the terminal, and `show` gets the lines."""
        if self._waiting is not None:
            self._waiting.stop()
        self._instead = show
        try:
            yield
        finally:
            self._instead = None
            if self._waiting is not None:
                self._waiting.start()

    def leave(self) -> None:
        """Gives the terminal back at once: the process is about to end without any clean-up."""
        if self._instead is not None:
            self._instead = None
            self.console.file.write(LEAVE)
            self.console.file.flush()
