"""Where runs are recorded: a SQLite file or an MLflow server, opened and proven usable.

A place that cannot be used is found out within seconds and named; MLflow by itself would retry
for minutes.
"""

import contextlib
import logging
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from perft.errors import StorageError
from perft.home import sqlite_path

EXPERIMENT = "perft"
_LOCK_SECONDS = 60.0
_SERVER_SECONDS = 10.0


@contextlib.contextmanager
def place_errors(tracking_uri: str) -> Iterator[None]:
    """Turns what MLflow raises into a `StorageError` that names the place."""
    try:
        yield
    except StorageError:
        raise
    except (MlflowException, OSError, sqlite3.Error) as error:
        raise StorageError(
            f"cannot record runs in {tracking_uri}: {error}; set MLFLOW_TRACKING_URI to a running "
            "MLflow server, or to sqlite:////<absolute path>/mlflow.db in a folder you can write to"
        ) from error


def connect(tracking_uri: str) -> tuple[MlflowClient, str]:
    """A client of the store, made when it is not there yet, and the id of perft's experiment.

    Searches that start at the same moment on one new SQLite file wait for each other.

    Raises:
        StorageError: when the store cannot be reached or written.
    """
    with place_errors(tracking_uri):
        path = sqlite_path(tracking_uri)
        if path is None:
            _require_answer(tracking_uri)
            client = MlflowClient(tracking_uri)
            return client, _experiment(client, None)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=_LOCK_SECONDS):
            _require_writable(path)
            with _quiet():
                client = MlflowClient(tracking_uri)
                # MLflow's own default for artifacts is relative to the working directory.
                return client, _experiment(client, (path.parent / "mlartifacts").as_uri())


def where_to_look(tracking_uri: str) -> str:
    """What a user opens to see the runs: a server's address, or the command that starts one."""
    if tracking_uri.startswith(("http://", "https://")):
        return tracking_uri
    return f"mlflow ui --backend-store-uri {tracking_uri}"


def _experiment(client: MlflowClient, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            return str(client.create_experiment(EXPERIMENT, artifact_location=artifacts))
        except MlflowException:
            # Another search may have been faster.
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise StorageError(
            f"the MLflow experiment {EXPERIMENT!r} is deleted; bring it back with `mlflow "
            f"experiments restore --experiment-id {found.experiment_id}`, or use another store"
        )
    return str(found.experiment_id)


def _require_writable(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as connection:
        connection.execute("BEGIN IMMEDIATE")


def _require_answer(tracking_uri: str) -> None:
    """Any answer will do: whether it is MLflow's shows with the first call."""
    if tracking_uri.startswith(("http://", "https://")):
        # Any answer proves that something listens, a refusal too.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen(tracking_uri, timeout=_SERVER_SECONDS).close()  # noqa: S310


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences the notes on every migration of a store's schema."""
    loggers = [logging.getLogger(name) for name in ("alembic", "mlflow.store.db.utils")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
