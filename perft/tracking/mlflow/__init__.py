"""The MLflow tracker, the only code that uses MLflow: a parent run per search, a child per trial.

`tracker` and the checks of places import quickly; `runs` and `client` import MLflow, which takes
seconds.
"""

import os

# MLflow reads these. By default it sends telemetry, and prints two lines for every run that ends.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# A call fails within seconds, and `Sender` tries again after a look-up: a retry by MLflow's client
# would create a run twice.
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
