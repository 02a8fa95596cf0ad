"""Where perft keeps things unless it is told otherwise.

Every place is absolute, so that a submitted job, whose working directory is a passing copy, and
the shell that looks at its outcome later mean the same place.
"""

import os
from pathlib import Path

_SQLITE = "sqlite:///"


def home() -> Path:
    """`$PERFT_HOME`, or `~/.perft`; absolute, not necessarily there yet."""
    return Path(os.environ.get("PERFT_HOME") or "~/.perft").expanduser().resolve()


def default_storage() -> str:
    """The folder that holds one folder per search."""
    return str(home() / "searches")


def default_tracking_uri() -> str:
    """`$MLFLOW_TRACKING_URI`, or a SQLite store in `home()`; a relative SQLite path made absolute.

    MLflow's own default is a file in the working directory, which a submitted job loses.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"{_SQLITE}{home() / 'mlflow.db'}"
    path = sqlite_path(uri)
    return f"{_SQLITE}{path}" if path else uri


def sqlite_path(tracking_uri: str) -> Path | None:
    """The absolute file of a SQLite store; None for any other store."""
    if not tracking_uri.startswith(_SQLITE):
        return None
    return Path(tracking_uri.removeprefix(_SQLITE)).expanduser().resolve()
