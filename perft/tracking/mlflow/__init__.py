"""The tracker MLflow, and the one door to it: a parent run per search, a child run per trial.

`tracker` and what it asks places by are light; `runs` and `client` import MLflow, which takes
seconds.
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
