"""The interface of a tracker, which shows searches from their records.

A search's own folder is authoritative, and a tracker shows a copy that can be completed from it. To
add one, implement `Tracker` and `Runs`, and name it in `perft.tracking.trackers`.
"""

from collections.abc import Mapping
from typing import Protocol

from perft.tracking.records import Records, SearchRecord, TrialRecord


class Runs(Protocol):
    """The runs of one search in a tracker.

    A record may be sent again, also by another process, also after the tracker stored it and its
    answer was lost; it must not be stored twice. One thread makes all calls. A method that fails
    raises `StorageError`: the runs are then opened again, and the same is sent again.
    """

    @property
    def ids(self) -> dict[int, str]:
        """By trial number, the tracker's id of its run; empty if it has no ids."""

    def send_trial(self, trial: TrialRecord, search: SearchRecord) -> None:
        """Brings a trial's run up to date with its record.

        Args:
            trial: its record.
            search: the search's record, with the front, the test scores, and the status of trials
                without an outcome.
        """

    def send_search(self, search: SearchRecord, trials: Mapping[int, TrialRecord]) -> None:
        """Brings the search's run up to date with its record.

        Args:
            search: the record.
            trials: all records of trials, by number; no other trial's run stays RUNNING once the
                search has ended.
        """


class Tracker(Protocol):
    """A kind of tracker. It imports quickly: `open` imports what takes seconds.

    Attributes:
        title: its name in messages.
    """

    title: str

    def new_place(self) -> str:
        """The place for the runs of a new search, login included; may be empty.

        Raises:
            StorageError: if runs cannot be written there.
        """

    def known_place(self, noted: str, search: str) -> str:
        """The place for the runs of a search that was started before.

        Args:
            noted: from `new_place` then, without passwords and keys; empty if the search had
                another tracker.
            search: its name.

        Raises:
            SearchError: if a password or key is needed, which is never stored.
        """

    def at(self, place: str) -> str:
        """The tracker and a place for messages, without passwords and keys."""

    def where_to_look(self, place: str, folder: str) -> str:
        """The address, command or folder that shows a search to the user.

        Args:
            place: where its runs are.
            folder: the search's folder, without passwords and keys.
        """

    def open(self, place: str, records: Records) -> Runs:
        """Opens the runs of a search; makes them if they do not exist.

        Args:
            place: where they are.
            records: of the search, with its folder.

        Raises:
            StorageError: if runs cannot be written there.
        """
