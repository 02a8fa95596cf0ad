"""A tracker that writes tables into the search's own folder, without MLflow.

In `tracked/`: `trials.parquet` and `curves.parquet` (columns in `perft.tracking.tables`) and
`run.json`, the record of the search. Each is replaced atomically, so a reader sees a consistent
state.
"""

import json
import time
from collections.abc import Collection, Mapping

from perft.search_folder import TRACKED, TRACKED_CURVES, TRACKED_RUN, TRACKED_TRIALS
from perft.storage import Storage
from perft.tracking.records import Records, SearchRecord, TrialRecord
from perft.tracking.tracker import Runs

SECONDS_BETWEEN = 10.0
"""Time between two writes of the tables while trials train: each write replaces all of them."""


class FolderTracker:
    """Shows a search in `tracked/` of its folder; needs no place."""

    title = "the folder of tables"

    def new_place(self) -> str:
        """Empty: the tables need no place."""
        return ""

    def known_place(self, noted: str, search: str) -> str:
        """Empty: the tables need no place."""
        return ""

    def at(self, place: str) -> str:
        """As `Tracker.at`."""
        return f"the folder {TRACKED} of the search"

    def where_to_look(self, place: str, folder: str) -> str:
        """As `Tracker.where_to_look`: the folder."""
        return f"{folder}/{TRACKED}"

    def open(self, place: str, records: Records) -> Runs:
        """As `Tracker.open`."""
        return FolderRuns(records.folder, records.search, records.trials.values())


class FolderRuns:
    """The tables of one search.

    Args:
        folder: the search's folder.
        search: its record.
        trials: the records of its trials so far.

    Raises:
        StorageError: from every method, when the folder cannot be written.
    """

    def __init__(
        self, folder: Storage, search: SearchRecord, trials: Collection[TrialRecord]
    ) -> None:
        self._folder = folder
        self._search = search
        self._trials = {trial.number: trial for trial in trials}
        self._write()

    @property
    def ids(self) -> dict[int, str]:
        """Empty: a trial is identified by its number."""
        return {}

    def send_trial(self, trial: TrialRecord, search: SearchRecord) -> None:
        """As `Runs.send_trial`; while the search runs, writes every `SECONDS_BETWEEN` at most."""
        if self._trials.get(trial.number) == trial:
            return
        self._trials[trial.number], self._search = trial, search
        is_due = time.monotonic() - self._written >= SECONDS_BETWEEN
        if is_due or search.status != "RUNNING":
            self._write()

    def send_search(self, search: SearchRecord, trials: Mapping[int, TrialRecord]) -> None:
        """As `Runs.send_search`; writes all tables, unless the search runs and has not changed."""
        if search == self._search and search.status == "RUNNING":
            return
        self._search = search
        self._trials = {n: trial for n, trial in self._trials.items() if n in trials}
        self._write()

    def _write(self) -> None:
        from perft.tracking.tables import curves, parquet, table  # noqa: PLC0415 - pandas is slow

        trials = [trial for _, trial in sorted(self._trials.items())]
        self._folder.write(TRACKED_RUN, json.dumps(self._search.to_json(), indent=1).encode())
        self._folder.write(TRACKED_TRIALS, parquet(table(trials, self._search)))
        self._folder.write(TRACKED_CURVES, parquet(curves(trials)))
        self._written = time.monotonic()
