"""Escapes names and values for a Markdown page.

They may come from anyone's folder or hub, and must not add a line, a link, a row of a table or HTML
to a page.
"""

import re

from perft.errors import printable

_STEERS = re.compile(r"[\\`*\[\]<>|~&#$]|(?<!\w)_|_(?!\w)")
_TICKS = re.compile("`+")


def text(value: str) -> str:
    """A value as one line of plain text."""
    return _STEERS.sub(r"\\\g<0>", printable(value))


def block(value: str, language: str = "") -> str:
    """Lines as a block of code, which nothing in them ends."""
    lines = [printable(line) if not line.isprintable() else line for line in value.split("\n")]
    longest = max((len(run) for line in lines for run in _TICKS.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def code(value: str) -> str:
    """A value as one line of code."""
    line = printable(value)
    fence = "`" * (max(map(len, _TICKS.findall(line)), default=0) + 1)
    space = " " if "`" in line or not line else ""
    return f"{fence}{space}{line}{space}{fence}"
