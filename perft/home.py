"""Where perft keeps things unless it is told otherwise.

Every path is absolute, so that a submitted job, which runs in a temporary copy of the working
directory, and the shell that reads its results later mean the same place.
"""

import contextlib
import os
import re
from pathlib import Path

from perft.files import read_file, resolved

TRACKING_URI = "MLFLOW_TRACKING_URI"
_SQLITE = "sqlite:///"
_SQLITE_FILE = re.compile(r"sqlite(?:\+pysqlite)?:///(?P<path>[^?]+)(?:\?.*)?", re.IGNORECASE)
_FINGERPRINT = re.compile("[0-9a-f]{64}")
_LONGEST_PLACE = 1 << 16


def home() -> Path:
    """`$PERFT_HOME`, or `~/.perft`; absolute, not necessarily there yet."""
    return resolved(os.environ.get("PERFT_HOME") or "~/.perft")


def write_best_effort(file: Path, text: str) -> None:
    """Writes a small file under `home()`, atomically; errors are ignored."""
    beside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(text)
        beside.replace(file)


def remember_place(fingerprint: str, place: str | Path) -> None:
    """Records where the data or the base with this fingerprint lie on this machine.

    An adapter's folder names neither place.
    """
    write_best_effort(home() / "places" / fingerprint, str(place))


def remembered_place(fingerprint: str) -> Path | None:
    """Where the data or the base with this fingerprint were last used here; None if unknown."""
    file = home() / "places" / fingerprint
    if not _FINGERPRINT.fullmatch(fingerprint) or not file.is_file():
        return None
    try:
        place = Path(read_file(file, _LONGEST_PLACE).decode())
        return place if place.is_absolute() and place.exists() else None
    except (OSError, ValueError):  # it holds no path
        return None


def default_storage() -> str:
    """The folder that holds one folder per search."""
    return str(home() / "searches")


def default_tracking_uri() -> str:
    """`$MLFLOW_TRACKING_URI`, or a SQLite store in `home()`; a relative SQLite path made absolute.

    MLflow's own default is a file in the working directory, which a submitted job loses.
    """
    uri = os.environ.get(TRACKING_URI) or f"{_SQLITE}{home() / 'mlflow.db'}"
    path = sqlite_path(uri)
    return f"{_SQLITE}{path}" if path else uri


def sqlite_path(tracking_uri: str) -> Path | None:
    """The absolute file of a SQLite store; None for any other store."""
    found = _SQLITE_FILE.fullmatch(tracking_uri)
    if found is None or found["path"] == ":memory:":
        return None
    return resolved(found["path"])
