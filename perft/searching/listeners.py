"""Who hears of a search's trials while it runs: the view, and the callbacks of a program."""

from collections.abc import Sequence
from typing import Protocol

from perft.searching.ledger import Entry


class Listener(Protocol):
    """Hears of reports and ends, in the search's own thread: the search waits for it.

    A `PerftError` that a method raises ends the search, which can be resumed.
    """

    def reported(self, entry: Entry) -> None:
        """A trial has reported, at a rung or at full length."""

    def ended(self, entry: Entry) -> None:
        """A trial has ended."""


class Listeners:
    """Several listeners as one.

    Args:
        each: who hears, in this order.
    """

    def __init__(self, each: Sequence[Listener]) -> None:
        self._each = each

    def reported(self, entry: Entry) -> None:
        """Tells all of them of a report."""
        for listener in self._each:
            listener.reported(entry)

    def ended(self, entry: Entry) -> None:
        """Tells all of them of an end."""
        for listener in self._each:
            listener.ended(entry)
