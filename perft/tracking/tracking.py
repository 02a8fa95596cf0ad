"""What the records of a search come from, and where they go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from perft.masking import masked
from perft.storage import Storage
from perft.tracking.records import Records, SearchRecord
from perft.tracking.tracker import Runs, Tracker


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """What a search's records come from, and where they go.

    Attributes:
        tracker: shows the search.
        place: where the tracker shows it, from `tracker.new_place` or `tracker.known_place`.
        folder: the search's folder.
        name: the search's name.
        params: its settings.
        tell: shows the user a line.
        later: returns the command that completes the runs after the search.
    """

    tracker: Tracker
    place: str
    folder: Storage
    name: str
    params: Mapping[str, object]
    tell: Callable[[str], None]
    later: Callable[[], str]

    @property
    def at(self) -> str:
        """The tracker and the place, for messages."""
        return self.tracker.at(self.place)

    def fresh(self) -> SearchRecord:
        """The record of a search that starts now."""
        return SearchRecord(name=self.name, place=masked(self.folder.uri), params=self.params)

    def open(self, records: Records) -> Runs:
        """Opens the runs of the search; errors as of `Tracker.open`."""
        return self.tracker.open(self.place, records)
