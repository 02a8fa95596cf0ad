"""The runs of one search in MLflow, kept up to date with its records.

Invariant: every call may be repeated, also by another process, also after MLflow did it and its
answer was lost. A run is looked up before it is created, and a metric has its record's time.
"""

from collections.abc import Mapping

from perft.storage import Storage
from perft.tracking.mlflow.child import ChildRun
from perft.tracking.mlflow.client import connect
from perft.tracking.mlflow.parent import ParentRun
from perft.tracking.mlflow.place import place_errors
from perft.tracking.mlflow.store import Store
from perft.tracking.mlflow.tags import KEY, PARENT, TRIAL
from perft.tracking.records import SearchRecord, TrialRecord


class MLflowRuns:
    """One parent run, and a child run per trial.

    Args:
        tracking_uri: an MLflow server, a SQLite file (`sqlite:////absolute/path`), which is created
            if needed and has its artifacts beside it, or another store.
        folder: the search's folder, with the files to upload.
        search: the record of the search: its run is looked up, or created, and set RUNNING.

    Raises:
        StorageError: from every method, if the store refuses a call.
    """

    def __init__(self, tracking_uri: str, folder: Storage, search: SearchRecord) -> None:
        self._uri = tracking_uri
        client, experiment = connect(tracking_uri)
        self._store = Store(client, experiment, folder)
        with place_errors(self._uri):
            found = self._store.search(f"tags.`{KEY}` = '{search.key}'")
            is_new = not found
            self._parent = (
                ParentRun.make(self._store, search) if is_new else ParentRun(self._store, found[0])
            )
            query = f"tags.`{PARENT}` = '{self._parent.run_id}'"
            self._children = {
                int(child.data.tags[TRIAL]): ChildRun(self._store, child, None)
                for child in ([] if is_new else self._store.search(query))
            }
            self._parent.begin(search, is_new=is_new)

    @property
    def run_id(self) -> str:
        """Id of the search's run."""
        return self._parent.run_id

    @property
    def ids(self) -> dict[int, str]:
        """Ids of the trials' runs, by number."""
        return {number: child.run_id for number, child in self._children.items()}

    def send_trial(self, trial: TrialRecord, search: SearchRecord) -> None:
        """Brings a trial's run up to date with its record and its search's record."""
        with place_errors(self._uri):
            self._child(trial, search).send(trial, search)

    def send_search(self, search: SearchRecord, trials: Mapping[int, TrialRecord]) -> None:
        """Brings the parent run up to date with the records.

        Args:
            search: that of the search.
            trials: those of its trials, by number; no other run stays RUNNING once the search has
                ended.
        """
        with place_errors(self._uri):
            for trial in trials.values():
                self._child(trial, search)  # the note links to it
            self._parent.send(search, trials, self.ids)
            for number, child in self._children.items():
                if number not in trials and child.status == "RUNNING":
                    child.end(search.status, search.ended)

    def _child(self, trial: TrialRecord, search: SearchRecord) -> ChildRun:
        if trial.number not in self._children:
            made = ChildRun.make(self._store, trial, search, self._parent.run_id)
            self._children[trial.number] = made
        return self._children[trial.number]
