"""The live view of a running search: one table, or plain lines in a job's log."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from perft.files import Json
from perft.options import MAX_TRIALS
from perft.searching.agenda import Agenda
from perft.searching.ledger import Entry
from perft.searching.notebook import NotebookLive, live_on
from perft.searching.stages import Stages
from perft.searching.steering.outlook import Outlook
from perft.selection import describe, format_score, objective
from perft.trial import Report, is_confirmation

_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red"}
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
        self._told = time.monotonic()  # what is left, in a log
        self._stage = ""
        self._live: Live | NotebookLive | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inside, the table is on screen or in the notebook; nothing in a log."""
        live = live_on(self._console, self.render)
        if live is None:
            yield
            return
        with live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def stage(self, text: str) -> None:
        """Shows what the search is doing now."""
        self._stage = text
        self._stages.event("stage", seconds=round(self._stages.seconds, 3), text=text)
        self._line(text)

    def note(self, text: str) -> None:
        """Shows a note to the user, which stays on screen."""
        self._stages.event("note", seconds=round(self._stages.seconds, 3), text=text)
        if self._live is None:
            self._line(text)
        else:
            self._console.print(text, highlight=False, markup=False)

    def reported(self, entry: Entry) -> None:
        """Shows that a trial reached a rung."""
        last = entry.reports[-1]
        self._event("report", entry, report=last.to_json())
        self._line(
            f"trial {entry.number:>3}  step {last.step}/{self._max_steps}  "
            f"val loss {last.val_loss:.4f}  {_accuracy(last, 'accuracy ', '  ')}"
            f"{describe(entry.config)}"
        )

    def ended(self, entry: Entry) -> None:
        """Shows that a trial ended."""
        self._event("trial", entry, outcome=entry.outcome, error=entry.error)
        reason = f": {entry.error}" if entry.error else ""
        left = ""
        if time.monotonic() - self._told > LEFT_SECONDS and (text := str(self._outlook)):
            self._told, left = time.monotonic(), f"  {text}"
        self._line(f"trial {entry.number:>3}  {entry.outcome}{reason}  ({self._count()}){left}")

    def render(self) -> RenderableType:
        """The table of trials under a line with the elapsed time and the best trial so far."""
        table = Table(box=None, header_style="bold", pad_edge=False)
        for title in ("trial", "configuration"):
            table.add_column(title)
        for title in ("step", "val loss", "accuracy"):
            table.add_column(title, justify="right")
        table.add_column("outcome")
        steps = self._steps()
        shown = sorted(self._entries.values(), key=_running_first)[:_ROWS]
        for entry in sorted(shown, key=lambda entry: entry.number):
            self._add(table, entry, steps.get(entry.number, 0))
        return Group(Text(self._headline(), style="bold"), table)

    def _add(self, table: Table, entry: Entry, step: int) -> None:
        last = entry.reports[-1] if entry.reports else None
        step = max(step if entry.outcome is None else 0, last.step if last else 0)
        table.add_row(
            str(entry.number),
            describe(entry.config),
            f"{step}/{self._max_steps}",
            f"{last.val_loss:.4f}" if last else "",
            _accuracy(last) if last else "",
            Text(entry.outcome or "running", style=_STYLES.get(entry.outcome or "", "cyan")),
        )

    def _headline(self) -> str:
        entries = list(self._entries.values())  # the search may add one meanwhile
        parts = [self._stages.clock, self._count(), str(self._outlook), self._stage]
        complete = [
            entry
            for entry in entries
            if entry.outcome == "complete" and not is_confirmation(entry.origin)
        ]
        if complete:
            best = max(complete, key=lambda entry: objective(entry.reports[-1]))
            parts.append(f"best {format_score(best.reports[-1])} trial {best.number}")
        return "  ·  ".join(part for part in parts if part)

    def _count(self) -> str:
        """Trials that have ended, of how many; of a search with a budget alone, nobody knows."""
        entries = list(self._entries.values())
        done, total = sum(each.outcome is not None for each in entries), self._agenda.num_trials
        return f"{done}/{total} trials" if total < MAX_TRIALS else f"{done} trials"

    def _event(self, kind: str, entry: Entry, **fields: Json) -> None:
        size = dataclasses.asdict(entry.size) if entry.size else None
        config = entry.config.to_flat()
        about = {"trial": entry.number, "config": config, "size": size, **fields}
        self._stages.event(kind, seconds=round(self._stages.seconds, 3), **about)

    def _line(self, text: str) -> None:
        if self._live is None:
            self._stages.show(text)


def _accuracy(report: Report, before: str = "", after: str = "") -> str:
    """The accuracy between two texts; empty for a task without accuracy."""
    return f"{before}{report.accuracy:.1%}{after}" if report.scored else ""


def _running_first(entry: Entry) -> tuple[bool, int]:
    return entry.outcome is not None, -entry.number
