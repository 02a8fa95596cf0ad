"""The one door to MLflow: a parent run per search, a child run per trial.

The search's own records are what counts; MLflow is a copy that can be completed from them. What is
named here is light; `perft.tracking.runs` imports MLflow, which takes seconds.
"""

import os

# MLflow reads these. Unless told otherwise it reports its use to its makers, and a client of a
# server prints two lines for every run that ends.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# A call ends within seconds, and is tried again by who knows what MLflow has already: a run that
# MLflow's client asks for twice is there twice.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

from perft.tracking.environment import environment
from perft.tracking.place import require_usable, where_to_look
from perft.tracking.sender import PATIENCE_SECONDS
from perft.tracking.tracker import Tracker, is_sent

__all__ = [
    "PATIENCE_SECONDS",
    "Tracker",
    "environment",
    "is_sent",
    "require_usable",
    "where_to_look",
]
