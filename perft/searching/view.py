"""The live view of a running search: a screen of its own, or plain lines in a job's log."""

import contextlib
import dataclasses
import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO

from rich.console import RenderableType
from rich.live import Live

from perft.files import Json
from perft.options import MAX_TRIALS
from perft.searching.agenda import Agenda
from perft.searching.dashboard import Snapshot, accuracy, dashboard, trials_table
from perft.searching.ledger import Entry
from perft.searching.notebook import NotebookLive, live_on
from perft.searching.stages import Stages
from perft.searching.steering.outlook import Outlook
from perft.selection import describe, describe_origin

_ROWS = 20

LEFT_SECONDS = 60.0
"""Time between two lines of a log that say what is left."""


class View:
    """Shows the trials of one search.

    Args:
        stages: the console and the clock.
        agenda: knows how many trials the search has.
        max_steps: a full-length trial's steps.
        entries: the ledger's trials, by number; read, never changed.
        title: what the search is called.
        steps: returns, by running trial, the steps it has done between rungs.
        outlook: knows what is left.
    """

    def __init__(
        self,
        stages: Stages,
        agenda: Agenda,
        max_steps: int,
        entries: Mapping[int, Entry],
        *,
        title: str = "perft",
        steps: Callable[[], Mapping[int, int]],
        outlook: Outlook,
    ) -> None:
        self._stages = stages
        self._console = stages.console
        self._agenda = agenda
        self._max_steps = max_steps
        self._entries = entries
        self._steps = steps
        self._outlook = outlook
        self._title = title
        self._told = time.monotonic()  # what is left, in a log
        self._stage = ""
        self._known_reports = 0  # known before, since the last line
        self._live: Live | NotebookLive | None = None
        self._lines: list[str] = []  # said while the live view has the terminal

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside, a terminal or a notebook shows the search as it is; a log gets its lines.

        On a terminal the view has a screen of its own, which is drawn anew from its corner, so that
        resizing leaves no torn copies. What is said meanwhile is shown afterwards, line by line.
        """
        live = live_on(self._console, self.render)
        if live is None:
            yield
            return
        is_screen = isinstance(live, Live)
        printing = _printing_to(self._lines.append) if is_screen else contextlib.nullcontext()
        try:
            with self._stages.replaced(self._lines.append), printing, live:
                self._live = live
                yield
        finally:
            self._live = None
            self._leave_lines()
            if is_screen and self._entries:
                self._console.print(trials_table(self._now(), self._console.width, _ROWS))

    def _leave_lines(self) -> None:
        """Shows what was said while the live view had the terminal."""
        lines = list(self._lines)
        self._lines.clear()
        for line in lines:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def stage(self, text: str) -> None:
        """Shows what the search is doing now."""
        self._stage = text
        self._stages.event("stage", text=text)
        if self._live is None:
            self._stages.show(text)
        elif isinstance(self._live, Live):
            self._live.refresh()

    def note(self, text: str) -> None:
        """Shows a note to the user, which stays on screen."""
        self._stages.event("note", text=text)
        self._stages.show(text)

    def reported(self, entry: Entry) -> None:
        """Shows that a trial reached a rung; not again after a resume."""
        last = entry.reports[-1]
        self._event("report", entry, report=last.to_json(), repeated=entry.is_repeated)
        if entry.is_repeated:
            self._known_reports += 1
            return
        self._line(
            f"trial {entry.number:>3}  step {last.step}/{self._max_steps}  "
            f"val loss {last.val_loss:.4f}  {accuracy(last, 'accuracy ', '  ')}"
            f"{describe(entry.config)} {describe_origin(entry.origin)}".rstrip()
        )

    def ended(self, entry: Entry) -> None:
        """Shows that a trial ended, not again after a resume; the screen keeps why one failed."""
        self._event(
            "trial",
            entry,
            outcome=entry.outcome,
            error=entry.error,
            repeated=entry.is_repeated,
        )
        if entry.is_repeated:
            return
        reason = f": {entry.error}" if entry.error else ""
        left = ""
        if time.monotonic() - self._told > LEFT_SECONDS and (text := str(self._outlook)):
            self._told, left = time.monotonic(), f"  {text}"
        text = f"trial {entry.number:>3}  {entry.outcome}{reason}  ({self._count()}){left}"
        if entry.outcome == "failed" or self._live is None:
            self._show(text)

    def render(self) -> RenderableType:
        """The screen of the search, as large as the terminal is now."""
        size = self._console.size
        return dashboard(self._now(), size.width, size.height)

    def _now(self) -> Snapshot:
        return Snapshot(
            title=self._title,
            clock=self._stages.clock,
            stage=self._stage,
            count=self._count(),
            share=self._outlook.share,
            outlook=str(self._outlook),
            entries=list(self._entries.values()),  # the search may add one meanwhile
            steps=self._steps(),
            max_steps=self._max_steps,
            notes=list(self._lines),
        )

    def _count(self) -> str:
        """Trials that have ended, of how many; of a search with a budget alone, nobody knows."""
        entries = list(self._entries.values())
        done, total = sum(each.outcome is not None for each in entries), self._agenda.num_trials
        return f"{done}/{total} trials" if total < MAX_TRIALS else f"{done} trials"

    def _event(self, kind: str, entry: Entry, **fields: Json) -> None:
        size = dataclasses.asdict(entry.size) if entry.size else None
        origin = dataclasses.asdict(entry.origin) if entry.origin else None
        config = entry.config.to_flat()
        self._stages.event(
            kind, trial=entry.number, config=config, origin=origin, size=size, **fields
        )

    def _line(self, text: str) -> None:
        if self._live is None:
            self._show(text)

    def _show(self, text: str) -> None:
        """Shows the line of something new; before the first, what was known, in one line."""
        if self._known_reports:
            known, self._known_reports = self._known_reports, 0
            self._stages.show(f"reports known from before: {known}; new ones follow")
        self._stages.show(text)


class _Sink(io.TextIOBase):
    """A stream that gives what is printed to it on as lines."""

    def __init__(self, stream: IO[str], keep: Callable[[str], None]) -> None:
        self.rich_proxied_file = stream  # where rich's own consoles write nevertheless
        self._keep, self._part = keep, ""

    def write(self, text: str) -> int:
        *lines, self._part = f"{self._part}{text}".split("\n")
        for line in lines:
            self._keep(line)
        return len(text)


@contextlib.contextmanager
def _printing_to(keep: Callable[[str], None]) -> Iterator[None]:
    """Inside, `keep` gets what Python code prints, which a screen would lose."""
    with (
        contextlib.redirect_stdout(_Sink(sys.stdout, keep)),
        contextlib.redirect_stderr(_Sink(sys.stderr, keep)),
    ):
        yield
