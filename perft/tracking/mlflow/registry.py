"""MLflow's model registry: puts an exported adapter into it, by name, with its scores.

A registered adapter is a logged model of its trial's run, a version of the registered model NAME,
and what the alias `champion` of that means from then on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from perft.errors import ConfigError, SearchError, StorageError, first_line
from perft.masking import masked
from perft.storage import Storage
from perft.tracking.mlflow.client import connect
from perft.tracking.mlflow.place import place_errors
from perft.tracking.mlflow.store import Store
from perft.tracking.mlflow.tags import KEY, PARENT, TRIAL

CHAMPION = "champion"
"""The alias of the version that was registered last."""

_REFUSED = "/:"
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Registered:
    """A version in the registry.

    Attributes:
        name: of the registered model.
        version: its number.
        uri: by which MLflow loads it, such as "models:/arithmetic@champion".
    """

    name: str
    version: str
    uri: str


def require_model_name(name: str) -> None:
    """Checks the name of a registered model.

    Raises:
        ConfigError: if MLflow refuses it.
    """
    bad = [sign for sign in _REFUSED if sign in name]
    if not name.strip() or bad or len(name) > _LONGEST_NAME or name in (".", ".."):
        raise ConfigError(
            f"--register {name!r}: the name of a registered model has no '/' and no ':', is not "
            f"blank and has {_LONGEST_NAME} characters at most"
        )


class Registry:
    """The model registry beside the runs of a search, checked and ready for one of its trials.

    Args:
        tracking_uri: where the runs are.
        folder: the search's folder.
        key: of the search's record.
        trial: number of the trial.
        name: of the registered model.

    Raises:
        ConfigError: if MLflow refuses the name.
        SearchError: if the trial has no run there.
        StorageError: if the place does not answer, or has no model registry.
    """

    def __init__(self, tracking_uri: str, folder: Storage, key: str, trial: int, name: str) -> None:
        require_model_name(name)
        self._uri, self._name = tracking_uri, name
        client, experiment = connect(tracking_uri)
        self._store = Store(client, experiment, folder)
        with place_errors(tracking_uri):
            run_id = self._run_of(key, trial)
        if run_id is None:
            raise SearchError(
                f"trial {trial} has no run in MLflow at {masked(tracking_uri)}, where it would be "
                "registered; send the search there first: perft sync --tracker mlflow"
            )
        self._run_id: str = run_id
        self._require_registry(client)

    def register(self, folder: Path, tags: Mapping[str, str], description: str) -> Registered:
        """Uploads an exported folder as a logged model of the trial's run, and registers it.

        Args:
            folder: the exported one, with its `MLmodel`.
            tags: of the model and of its version.
            description: of the version.

        Returns:
            The version, which the alias `champion` now means.

        Raises:
            StorageError: if the place refuses it.
        """
        client, name = self._store.client, self._name
        with place_errors(self._uri):
            model = client.create_logged_model(
                self._store.experiment, name, self._run_id, dict(tags), model_type="adapter"
            )
            try:
                client.log_model_artifacts(model.model_id, str(folder))
            except BaseException:
                client.finalize_logged_model(model.model_id, "FAILED")
                raise
            client.finalize_logged_model(model.model_id, "READY")
            self._require_model()
            made = client.create_model_version(
                name,
                f"models:/{model.model_id}",
                self._run_id,
                dict(tags),
                description=description,
                model_id=model.model_id,
            )
            client.set_registered_model_alias(name, CHAMPION, made.version)
        return Registered(name, str(made.version), f"models:/{name}@{CHAMPION}")

    def _run_of(self, key: str, trial: int) -> str | None:
        for parent in self._store.search(f"tags.`{KEY}` = '{key}'"):
            query = f"tags.`{PARENT}` = '{parent.info.run_id}' and tags.`{TRIAL}` = '{trial}'"
            for run in self._store.search(query):
                return str(run.info.run_id)
        return None

    def _require_registry(self, client: MlflowClient) -> None:
        try:
            client.search_registered_models(max_results=1)
        except Exception as error:  # stores raise errors of many types
            raise StorageError(
                f"{masked(self._uri)} has no model registry that can be read: "
                f"{masked(first_line(error))}; leave out --register, or set MLFLOW_TRACKING_URI to "
                "a server or database that has one, and send it the search: perft sync"
            ) from error

    def _require_model(self) -> None:
        """Creates the registered model, unless there is one of that name."""
        try:
            self._store.client.create_registered_model(self._name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
