"""The table of trackers, by their names for `--tracker`."""

from collections.abc import Mapping

from perft.errors import ConfigError, unknown
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
    if name not in TRACKERS:
        raise ConfigError(unknown("tracker", name, TRACKERS))
    return TRACKERS[name]
