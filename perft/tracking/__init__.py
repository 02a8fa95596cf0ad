"""Records of a search, and the trackers that show them: MLflow, or tables in the search's folder.

The search's own records are what counts; a tracker shows a copy that can be completed from them.
Everything that is named here is light: a tracker imports what it takes when its runs are opened.
"""

from perft.tracking.environment import environment
from perft.tracking.recorder import Recorder, is_sent
from perft.tracking.sender import PATIENCE_SECONDS
from perft.tracking.tracker import Tracker
from perft.tracking.trackers import DEFAULT, TRACKERS, tracker_of

__all__ = [
    "DEFAULT",
    "PATIENCE_SECONDS",
    "TRACKERS",
    "Recorder",
    "Tracker",
    "environment",
    "is_sent",
    "tracker_of",
]
