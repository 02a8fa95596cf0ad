"""What a tracker is: something that shows searches, made of their records.

A search's own folder is what counts, and a tracker shows a copy of it that can be completed from
there. To add one, implement `Tracker` and `Runs`, and name it in `perft.tracking.trackers`.
"""

from collections.abc import Collection
from typing import Protocol

from perft.tracking.records import Records, SearchRecord, TrialRecord


class Runs(Protocol):
    """What a tracker shows of one search.

    Whatever is sent may be sent again, by another process too, also where it was taken and the
    answer was lost; it must not be there twice. One thread calls. A method that cannot do its work
    raises `StorageError`: the runs are opened anew then, and are sent the same once more.
    """

    @property
    def ids(self) -> dict[int, str]:
        """By number of the trial, what the tracker calls its run; empty if it calls it nothing."""

    def send_trial(self, trial: TrialRecord, search: SearchRecord) -> None:
        """Shows a trial as its record is now.

        Args:
            trial: the record.
            search: that of the search, which says which trials are on the front, what was scored,
                and how trials ended that have no outcome.
        """

    def send_search(self, search: SearchRecord, trials: Collection[int]) -> None:
        """Shows the search as its record is now.

        Args:
            search: the record.
            trials: numbers of the trials that have records; no other one stays RUNNING once the
                search has ended.
        """


class Tracker(Protocol):
    """A kind of tracker. It is light to import: what takes seconds, `open` imports.

    Attributes:
        title: what messages call it.
    """

    title: str

    def new_place(self) -> str:
        """Where the runs of a new search go, with whatever login that takes; may be empty.

        Raises:
            StorageError: if they cannot be shown there.
        """

    def known_place(self, noted: str, search: str) -> str:
        """Where the runs go of a search that was started before.

        Args:
            noted: what `new_place` gave then, without passwords and keys; empty where the search
                had another tracker.
            search: its name.

        Raises:
            SearchError: if a password or key is needed that is kept nowhere.
        """

    def at(self, place: str) -> str:
        """What messages call it and a place, without passwords and keys."""

    def where_to_look(self, place: str, folder: str) -> str:
        """What a user opens to see a search.

        Args:
            place: where its runs are.
            folder: the search's folder, as it may be shown.
        """

    def open(self, place: str, records: Records) -> Runs:
        """Opens the runs of a search, made where they are not there yet.

        Args:
            place: where they are.
            records: of the search: all that is known of it now, and its folder.

        Raises:
            StorageError: if they cannot be shown there.
        """
