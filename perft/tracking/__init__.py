"""Records of a search, and the trackers that show them: MLflow, or tables in the search's folder.

The search's own records are authoritative; a tracker shows a copy that can be completed from them.
This package imports quickly: a tracker imports its libraries when its runs are opened.
"""

from perft.tracking.datasets import Dataset, datasets_of
from perft.tracking.environment import environment
from perft.tracking.recorder import Recorder, is_sent
from perft.tracking.sender import PATIENCE_SECONDS
from perft.tracking.tracker import Tracker
from perft.tracking.trackers import DEFAULT, TRACKERS, tracker_of
from perft.tracking.tracking import Tracking

__all__ = [
    "DEFAULT",
    "PATIENCE_SECONDS",
    "TRACKERS",
    "Dataset",
    "Recorder",
    "Tracker",
    "Tracking",
    "datasets_of",
    "environment",
    "is_sent",
    "tracker_of",
]
