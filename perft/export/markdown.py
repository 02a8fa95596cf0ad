"""Names and values as a Markdown page shows them: as text, whatever they hold.

They may come from a search's folder or a hub, so that no name can add a line, a link, a row of a
table or HTML to a page.
"""

import re

from perft.errors import printable

_STEERS = re.compile(r"[\\`*\[\]<>|~&#$]|(?<!\w)_|_(?!\w)")
_TICKS = re.compile("`+")


def text(value: str) -> str:
    """A value as plain text of one line."""
    return _STEERS.sub(r"\\\g<0>", printable(value))


def code(value: str) -> str:
    """A value as code of one line."""
    line = printable(value)
    fence = "`" * (max(map(len, _TICKS.findall(line)), default=0) + 1)
    space = " " if "`" in line or not line else ""
    return f"{fence}{space}{line}{space}{fence}"
