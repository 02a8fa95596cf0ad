"""The console of the commands: text without markup, and tables whose cells are never cut.

Names may come from anywhere, so nothing in a text is read as markup.
"""

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_ENDLESS = 100_000


def screen(*, stderr: bool = False) -> Console:
    """The console that a command prints to."""
    return Console(markup=False, emoji=False, highlight=False, stderr=stderr)


def print_table(console: Console, table: Table) -> None:
    """Prints a table without cutting a cell, even if its lines exceed the terminal's width.

    In a file or a pipe, which have no width, the table has the width that it needs.
    """
    needed = Measurement.get(console, console.options.update(max_width=_ENDLESS), table)
    width = max(console.width, needed.minimum if console.is_terminal else needed.maximum)
    wide = Console(file=console.file, width=width, markup=False, emoji=False, highlight=False)
    wide.print(table)
