"""The table of trackers, by their names for `--tracker`."""

from collections.abc import Mapping

from perft.checks import require_choice
from perft.tracking.folder import FolderTracker
from perft.tracking.mlflow.tracker import MLflowTracker
from perft.tracking.tracker import Tracker

DEFAULT = "mlflow"

TRACKERS: Mapping[str, Tracker] = {
    "mlflow": MLflowTracker(),
    "folder": FolderTracker(),
}


def tracker_of(name: str) -> Tracker:
    """The tracker with that name.

    Raises:
        ConfigError: if there is none; lists the names.
    """
    require_choice("tracker", name, TRACKERS)
    return TRACKERS[name]
