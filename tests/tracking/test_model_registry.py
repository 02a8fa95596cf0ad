"""`--register`: the registry holds what was exported, with its scores, and gives it back."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from exported import PROMPTS, loaded, record, search_with, written_by
from perft.api.exporting import export_trial
from perft.api.registering import register, registry_for
from perft.config import RoutedConfig
from perft.errors import ConfigError, SearchError, StorageError
from perft.storage import Storage
from perft.trial import TrialResult
from pretend import trial

# MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

NEW = 12


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture(scope="module")
def search(uri: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, TrialResult]:
    adapter = RoutedConfig(rank=4, num_experts=4, top_k=2)
    found, result = search_with(tmp_path_factory.mktemp("searches"), adapter)
    record(found, result, uri)
    return found, result


@pytest.fixture(autouse=True)
def place(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)


def test_the_champion_predicts_what_the_adapter_generates(
    search: tuple[Storage, TrialResult], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = export_trial(*search, tmp_path / "adapter")
    found = register(registry_for(*search, "arithmetic"), *search, folder)
    assert (found.version, found.uri) == ("1", "models:/arithmetic@champion")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        model = loaded(found.uri)
    finally:
        mlflow.set_tracking_uri(before)
    predicted = model.predict(pd.DataFrame({"prompt": PROMPTS}), params={"max_new_tokens": NEW})
    assert predicted == written_by(folder, PROMPTS, NEW)

    client = MlflowClient(uri)
    version = client.get_model_version_by_alias("arithmetic", "champion")
    tags = {
        "accuracy": "0.7500", "accuracy_interval": "0.7053 to 0.7899", "perft.search": "first",
        "activated_parameters": "1000", "perft.trial": "1", "perft.variant": "perft-r",
    }  # fmt: skip
    assert version.tags.items() >= tags.items()
    assert client.get_run(version.run_id).data.tags["perft.trial"] == "1"
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert (logged.source_run_id, logged.status) == (version.run_id, "READY")


def test_another_registration_is_the_next_version_and_the_champion(
    search: tuple[Storage, TrialResult], uri: str, tmp_path: Path
):
    folder = export_trial(*search, tmp_path / "adapter")
    versions = [register(registry_for(*search, "twice"), *search, folder).version for _ in range(2)]
    assert versions == ["1", "2"]
    assert MlflowClient(uri).get_registered_model("twice").aliases == {"champion": 2}


@pytest.mark.parametrize("name", ["a/b", "a:b", " ", "..", "n" * 300])
def test_a_name_that_mlflow_refuses_is_refused_first(
    search: tuple[Storage, TrialResult], name: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://")
    with pytest.raises(ConfigError, match="has no '/' and no ':', is not blank"):
        registry_for(*search, name)


def test_a_trial_without_a_run_is_refused(search: tuple[Storage, TrialResult]):
    with pytest.raises(SearchError, match=r"trial 7 has no run in MLflow at .*perft sync"):
        registry_for(search[0], trial(7), "arithmetic")


def test_a_place_without_a_registry_is_refused(
    search: tuple[Storage, TrialResult], monkeypatch: pytest.MonkeyPatch
):
    def refuse(self: MlflowClient, **_options: object) -> None:
        raise MlflowException("Model Registry features are not supported\nby this store")

    monkeypatch.setattr(MlflowClient, "search_registered_models", refuse)
    with pytest.raises(StorageError, match="has no model registry that can be read: Model Reg"):
        registry_for(*search, "arithmetic")


def test_a_failed_upload_leaves_no_version(
    search: tuple[Storage, TrialResult], uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(self: MlflowClient, *_args: object) -> None:
        raise OSError("the disk is full")

    folder = export_trial(*search, tmp_path / "adapter")
    registry = registry_for(*search, "broken")
    monkeypatch.setattr(MlflowClient, "log_model_artifacts", fail)
    with pytest.raises(StorageError, match="the disk is full"):
        register(registry, *search, folder)
    assert not MlflowClient(uri).search_registered_models("name = 'broken'")
