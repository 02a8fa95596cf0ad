"""A client of MLflow at a place, with the experiment that holds all searches."""

import logging

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from perft.errors import StorageError
from perft.home import sqlite_path
from perft.tracking.mlflow.place import place_errors, require_usable
from perft.tracking.mlflow.server import EXPERIMENT, Server, is_server
from perft.tracking.mlflow.sqlite import lock_of

_LOCK_SECONDS = 60.0
KIND, MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
"""The tag and its value by which MLflow's UI opens an experiment on its runs, not on traces."""


def connect(tracking_uri: str) -> tuple[MlflowClient, str]:
    """A client of the store, created if needed, and the id of perft's experiment.

    Searches that start at the same time on one new SQLite file wait for each other.

    Raises:
        StorageError: if the store cannot be reached or written.
    """
    # Errors are also raised, and shown in one line.
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    require_usable(tracking_uri)
    with place_errors(tracking_uri):
        if is_server(tracking_uri):
            server = Server.at(tracking_uri)
            server.log_in()
            client = MlflowClient(server.address)
            return client, _experiment(client, None)
        path = sqlite_path(tracking_uri)
        if path is None:
            client = MlflowClient(tracking_uri)
            return client, _experiment(client, None)
        with FileLock(lock_of(path), timeout=_LOCK_SECONDS):
            client = MlflowClient(f"sqlite:///{path}")
            # MLflow's own default for artifacts is relative to the working directory.
            return client, _experiment(client, (path.parent / "mlartifacts").as_uri())


def _experiment(client: MlflowClient, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            made = client.create_experiment(
                EXPERIMENT, artifact_location=artifacts, tags={KIND: MODEL_TRAINING}
            )
            return str(made)
        except MlflowException:
            # Another search may have created it meanwhile.
            found = client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise StorageError(
            f"the MLflow experiment {EXPERIMENT!r} is deleted; bring it back with `mlflow "
            f"experiments restore --experiment-id {found.experiment_id}`, or use another store"
        )
    if KIND not in found.tags:  # of an earlier version; what the user has chosen stays
        client.set_experiment_tag(found.experiment_id, KIND, MODEL_TRAINING)
    return str(found.experiment_id)
