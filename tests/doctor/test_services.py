"""Ray, MLflow, the hub and ports, with answers that are pretended."""

import socket
from pathlib import Path

import pytest
import requests

from perft.doctor.services import hub, mlflow, ports, ray
from perft.errors import StorageError


def test_no_ray_is_fine_and_others_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perft.searching.cluster._started_here", lambda: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (found,) = ray(lambda: ["bash"])
    assert found.state == "ok"
    assert found.found.endswith("starting a Ray of the search's own on this machine")
    (found,) = ray(lambda: ["gcs_server", "raylet", "raylet"])
    assert found.found.endswith("; 2 Ray nodes run here, 1 of them heads")


def test_a_cluster_that_does_not_answer_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perft.searching.cluster.ANSWER_SECONDS", 0.2)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    (found,) = ray(lambda: [])
    assert found.state == "missing"
    assert found.found == "no Ray cluster answers at 127.0.0.1:1, which RAY_ADDRESS names"
    assert found.advice.startswith("start it, or unset RAY_ADDRESS")


def test_the_store_of_mlflow_is_asked_and_not_made(tmp_path: Path) -> None:
    (found,) = mlflow(f"sqlite:///{tmp_path}/new/mlflow.db")
    assert found.state == "ok"
    assert list(tmp_path.iterdir()) == []

    def refuses(uri: str) -> None:
        raise StorageError(f"cannot record runs in {uri}: it answers 401; set a login")

    (found,) = mlflow("http://ann:secret@host:5000", refuses)
    assert found.state == "missing"
    assert found.found == "cannot record runs in http://***@host:5000: it answers 401"
    assert found.advice == "set a login; or --tracker folder, without MLflow"
    assert mlflow("http://ann:secret@host", lambda _uri: None)[0].found == "http://***@host"


def test_a_store_that_cannot_be_written_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert mlflow(f"sqlite:///{tmp_path}/file/mlflow.db")[0].state == "missing"


def test_the_hub_answers_is_away_or_not_wanted() -> None:
    def answers(address: str, **_: object) -> requests.Response:
        assert address == "https://huggingface.co"
        return requests.Response()

    def away(address: str, **_: object) -> requests.Response:
        raise requests.ConnectTimeout(address)

    (found,) = hub({"HF_TOKEN": "hf_secret"}, answers)
    assert (found.state, found.found) == ("ok", "https://huggingface.co answers, a token is set")
    (found,) = hub({}, away)
    assert found.state == "warning"
    assert "does not answer (ConnectTimeout), no HF_TOKEN" in found.found
    assert hub({"HF_HUB_OFFLINE": "1"}, away)[0].found == "offline, as HF_HUB_OFFLINE says"


def test_a_taken_port_says_who_wants_it() -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        port = one.getsockname()[1]
        (found,) = ports({port: "`mlflow ui`"})
        assert (found.state, found.found) == ("warning", f"{port} in use")
        assert found.advice == f"{port} is wanted by `mlflow ui`"
    assert ports({port: "`mlflow ui`"})[0].state == "ok"
