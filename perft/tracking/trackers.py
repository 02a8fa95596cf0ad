"""The trackers, by the names by which `--tracker` chooses them: the one table of them."""

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
    """The tracker of a name.

    Raises:
        ConfigError: if there is none; names those that there are.
    """
    if name not in TRACKERS:
        raise ConfigError(unknown("tracker", name, TRACKERS))
    return TRACKERS[name]
