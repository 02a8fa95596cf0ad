"""Says what this machine has of what perft needs, what is missing, and what to do."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from perft.doctor.finding import Finding
from perft.screen import print_table, screen

_STYLES = {"ok": "green", "warning": "yellow", "missing": "bold red"}


def main(
    *,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print only warnings and what is missing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what is here of what perft needs, what is missing, and what to do.

    Looks at Python and packages, GPUs, compilers, memory, disks, Ray, MLflow, the model hub and
    ports, within 15 seconds. Starts nothing.

    Exit status 1 if something is missing without which a search is refused, else 0.
    """
    from perft.doctor import examine  # noqa: PLC0415 - asks for what it imports to be there

    found = examine()
    shown = [each for each in found if each.state != "ok"] if quiet else found
    if as_json:
        is_ready = not _missing(found)
        print(json.dumps({"ready": is_ready, "findings": [each.to_json() for each in shown]}))
    else:
        _print(shown, found, quiet=quiet)
    raise typer.Exit(bool(_missing(found)))


def _missing(found: Sequence[Finding]) -> list[Finding]:
    return [each for each in found if each.state == "missing"]


def _print(shown: Sequence[Finding], found: Sequence[Finding], *, quiet: bool) -> None:
    console = screen()
    if shown:
        print_table(console, _table(shown))
    if not quiet:
        counts = {state: sum(each.state == state for each in found) for state in _STYLES}
        console.print(", ".join(f"{count} {state}" for state, count in counts.items()))


def _table(shown: Sequence[Finding]) -> Table:
    """A row for each finding, with what to do below what was found."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in shown:
        text = f"{each.found}\n-> {each.advice}" if each.advice else each.found
        table.add_row(Text(each.state, _STYLES[each.state]), each.name, text)
    return table
