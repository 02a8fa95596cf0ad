"""Says what this machine has of what perft needs, what is missing, and what to do."""

from collections.abc import Sequence

import typer
from rich.table import Table
from rich.text import Text

from perft.doctor.finding import Finding
from perft.options import JsonOption, QuietOption
from perft.screen import Output

_STYLES = {"ok": "green", "warning": "yellow", "missing": "bold red"}


def main(*, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Say what is here of what perft needs, what is missing, and what to do.

    Looks at Python and packages, GPUs, compilers, memory, disks, Ray, MLflow, the model hub and
    ports, within 15 seconds. Starts nothing.

    Exit status 1 if something is missing without which a search is refused, else 0.

    Examples:
      perft doctor
      perft doctor --json
    """
    from perft.doctor import examine  # noqa: PLC0415 - asks for what it imports to be there

    output = Output(as_json=as_json, quiet=quiet)
    found = examine()
    is_ready = all(each.state != "missing" for each in found)
    output.table(_table(found))
    counts = {state: sum(each.state == state for each in found) for state in _STYLES}
    output.last(", ".join(f"{count} {state}" for state, count in counts.items()))
    output.document({"ready": is_ready, "findings": [each.to_json() for each in found]})
    raise typer.Exit(not is_ready)


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
