"""The one door to MLflow: a parent run per search, a child run per trial.

The search's own files are what counts; MLflow is a copy that can be completed from them.
"""

import os

# MLflow reads these when it is imported. Unless told otherwise it reports its use to its makers,
# and a client of a server prints two lines for every run that ends.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from perft.tracking.environment import environment
from perft.tracking.place import where_to_look
from perft.tracking.tracker import Tracker

__all__ = ["Tracker", "environment", "where_to_look"]
