"""Checks within seconds, without MLflow, that runs can be recorded in a place.

MLflow takes seconds to import, and retries an unusable place for minutes.
"""

import configparser
import contextlib
import os
import queue
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

from perft.errors import StorageError, first_line
from perft.home import sqlite_path
from perft.masking import masked
from perft.tracking.mlflow.server import is_server, require_server
from perft.tracking.mlflow.sqlite import require_sqlite

SECONDS = 8.0
"""Time for a place to answer."""

_DATABASES = ("postgresql", "mysql", "mssql")
_WANTED = (
    "set MLFLOW_TRACKING_URI to a running MLflow server, or to "
    "sqlite:////<absolute path>/mlflow.db in a folder you can write to"
)


@contextlib.contextmanager
def place_errors(tracking_uri: str) -> Iterator[None]:
    """Turns every error of a place into a one-line `StorageError` that names it.

    MLflow, its databases and its plug-ins raise errors of many types.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        # A parser's error quotes part of the address, which may be part of a password.
        has_login = masked(tracking_uri) != tracking_uri and isinstance(error, ValueError)
        why = "the address cannot be read" if has_login else masked(first_line(error))
        raise StorageError(
            f"cannot record runs in {masked(tracking_uri)}: {why}; {_WANTED}"
        ) from error


def require_usable(tracking_uri: str) -> None:
    """Checks that runs can be recorded in a place.

    Raises:
        StorageError: within `SECONDS`, if it does not answer, cannot be written, requires a login,
            needs a package that is not installed, or is no such place.
    """
    answers: queue.SimpleQueue[StorageError | None] = queue.SimpleQueue()

    def look() -> None:
        try:
            with place_errors(tracking_uri):
                _check(tracking_uri)
        except StorageError as error:
            answers.put(error)
        else:
            answers.put(None)

    threading.Thread(target=look, daemon=True).start()
    with place_errors(tracking_uri):
        try:
            found = answers.get(timeout=SECONDS)
        except queue.Empty:
            raise TimeoutError(f"no answer within {SECONDS:.0f} seconds") from None
    if found is not None:
        raise found


def where_to_look(tracking_uri: str) -> str:
    """A server's address, or the command that starts one, for the user to see the runs."""
    shown = masked(tracking_uri)
    if is_server(shown):
        return shown
    return f"{_program()} ui --backend-store-uri {shlex.quote(shown)}"


def _program() -> str:
    """MLflow's program: its name where a shell finds it, else its path beside this Python."""
    beside = Path(sys.executable).with_name("mlflow")
    found = shutil.which("mlflow")
    return "mlflow" if found or not beside.exists() else shlex.quote(str(beside))


def _check(tracking_uri: str) -> None:
    scheme = tracking_uri.partition(":")[0].lower()
    if (path := sqlite_path(tracking_uri)) is not None:
        require_sqlite(path)
    elif is_server(tracking_uri):
        require_server(tracking_uri)
    elif scheme.partition("+")[0] in _DATABASES:
        _require_database(tracking_uri)
    elif scheme == "databricks":
        _require_databricks(tracking_uri)
    elif scheme == "file" or ":" not in tracking_uri:
        _require_file_store()
    elif scheme not in entry_points(group="mlflow.tracking_store").names:
        raise LookupError("there is no such kind of place")


def _require_database(tracking_uri: str) -> None:
    from sqlalchemy import create_engine  # noqa: PLC0415 - slow to import, and few need it

    try:
        engine = create_engine(tracking_uri)
    except ImportError as error:
        raise ImportError(f"its driver is not installed here ({error})") from error
    engine.connect().close()


def _require_databricks(tracking_uri: str) -> None:
    """Checks for a login; MLflow's own look-up asks three clouds' machines, which takes long."""
    profile = tracking_uri.partition("://")[2]
    file = Path(os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg").expanduser()
    known = configparser.ConfigParser()
    known.read(file)
    if ":" not in profile and profile not in ("", known.default_section, *known.sections()):
        raise LookupError(f"{file} has no profile {profile!r}")
    if not (profile or known.defaults() or os.environ.get("DATABRICKS_HOST")):
        raise LookupError(f"neither DATABRICKS_HOST nor a profile in {file} says where that is")


def _require_file_store() -> None:
    if os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() not in ("true", "1"):
        raise LookupError("MLflow no longer writes to folders of files")
