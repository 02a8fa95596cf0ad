"""What a command shows: text and tables for people, or JSON for programs.

Names may come from anywhere, so nothing in a text is read as markup.
"""

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from perft.files import Json

_ENDLESS = 100_000


def screen(*, stderr: bool = False, quiet: bool = False) -> Console:
    """The console that a command prints to; a quiet one shows nothing.

    It keeps to the stream of now: while a space's own code runs, what that prints goes elsewhere,
    and other threads print meanwhile.
    """
    file = sys.stderr if stderr else sys.stdout
    return Console(file=file, markup=False, emoji=False, highlight=False, quiet=quiet)


class Output:
    """What a command shows, by its options `--json` and `--quiet`.

    With `as_json` stdout gets JSON alone: one document, or a line for each event. With `quiet`
    people see the last line alone, and no notes. Errors are always shown, on stderr.

    Args:
        as_json: whether programs read it.
        quiet: whether people want the last line alone.

    Attributes:
        as_json: the same.
        console: for text before the last line; shows nothing if that is not wanted.
        progress: for progress bars, on stderr; shows nothing if that is no terminal.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self._stdout = sys.stdout
        self.console = screen(quiet=quiet or as_json)
        self._last = screen(quiet=as_json)
        self._notes = screen(stderr=True, quiet=quiet)
        self.progress = screen(stderr=True, quiet=quiet or as_json or not sys.stderr.isatty())

    def say(self, text: str, *, style: str | None = None) -> None:
        """Shows a line, which is never cut."""
        self.console.print(text, style=style, soft_wrap=True)

    def table(self, table: Table, optional: Sequence[str] = ()) -> None:
        """Shows a table; arguments as of `print_table`."""
        if not self.console.quiet:
            print_table(self.console, table, optional)

    def note(self, text: str) -> None:
        """Shows on stderr what the user should know beside the result."""
        self._notes.print(text, soft_wrap=True)

    def last(self, text: str) -> None:
        """Shows the last line: the result in short."""
        self._last.print(text, soft_wrap=True)

    def document(self, value: Json) -> None:
        """Prints the result for programs, if they want it."""
        if self.as_json:
            print(json.dumps(_finite(value), indent=1), file=self._stdout)

    def event(self, kind: str, **fields: Json) -> None:
        """Prints what has happened as a line of JSON, at once, if programs want it.

        Args:
            kind: what has happened; the field `event`.
            fields: what there is to know about it.
        """
        if self.as_json:
            line = json.dumps(_finite({"event": kind, **fields}))
            print(line, file=self._stdout, flush=True)


def _finite(value: Json) -> Json:
    """The value with null in place of numbers that JSON does not have, such as a loss of nan."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(each) for each in value]
    return value


def print_table(console: Console, table: Table, optional: Sequence[str] = ()) -> None:
    """Prints a table without cutting a cell, even if its lines exceed the terminal's width.

    In a file or a pipe, which have no width unless COLUMNS gives one, the table has the width that
    it needs.

    Args:
        console: where.
        table: columns that must stay on one line are `no_wrap`.
        optional: headings of columns that are left out where the terminal is too narrow to show
            each row on one line, the least important first.
    """
    for column in table.columns:
        if column.no_wrap:
            column.min_width = max(_width(console, cell) for cell in (column.header, *column.cells))
    has_width = console.is_terminal or "COLUMNS" in os.environ
    for heading in optional if has_width else ():
        if _measured(console, table).maximum > console.width:
            table.columns = [each for each in table.columns if each.header != heading]
    needed = _measured(console, table)
    width = max(console.width, needed.minimum) if has_width else needed.maximum
    wide = Console(file=console.file, width=width, markup=False, emoji=False, highlight=False)
    wide.print(table)


def _width(console: Console, cell: object) -> int:
    """Columns of the terminal that a cell takes, by its longest line."""
    options = console.options.update(max_width=_ENDLESS)
    return Measurement.get(console, options, cell).maximum  # type: ignore[arg-type]


def _measured(console: Console, table: Table) -> Measurement:
    return Measurement.get(console, console.options.update(max_width=_ENDLESS), table)
