"""MLflow as a tracker."""

import os

from perft.errors import SearchError
from perft.home import TRACKING_URI, default_tracking_uri
from perft.masking import MASK, masked
from perft.tracking.mlflow.place import require_usable, where_to_look
from perft.tracking.records import Records
from perft.tracking.tracker import Runs


class MLflowTracker:
    """Runs in the MLflow that `MLFLOW_TRACKING_URI` names, or in perft's SQLite file."""

    title = "MLflow"

    def new_place(self) -> str:
        """As `Tracker.new_place`."""
        place = default_tracking_uri()
        require_usable(place)
        return place

    def known_place(self, noted: str, search: str) -> str:
        """As `Tracker.known_place`; `MLFLOW_TRACKING_URI`, if set, takes precedence."""
        if os.environ.get(TRACKING_URI) or not noted:
            return default_tracking_uri()
        if MASK in noted:
            raise SearchError(
                f"the runs of search {search!r} are in {noted}, whose login is kept nowhere; set "
                f"{TRACKING_URI} to that place, with the login"
            )
        return noted

    def at(self, place: str) -> str:
        """As `Tracker.at`."""
        return f"MLflow at {masked(place)}"

    def where_to_look(self, place: str, folder: str) -> str:
        """As `Tracker.where_to_look`: a server's address, or the command that starts one."""
        return where_to_look(place)

    def open(self, place: str, records: Records) -> Runs:
        """As `Tracker.open`."""
        from perft.tracking.mlflow.runs import MLflowRuns  # noqa: PLC0415 - slow to import

        return MLflowRuns(place, records.folder, records.search)
