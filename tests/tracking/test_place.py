"""Where runs are recorded: made when missing, shared by searches, refused with a reason."""

import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from perft.errors import StorageError
from perft.home import default_storage, default_tracking_uri, home
from perft.tracking import Tracker, where_to_look

# MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

OPEN = """
import sys
from perft.tracking import Tracker
tracker = Tracker.open(
    sys.argv[1], sys.argv[2], storage="/s", resume=False, params={"seed": 0}, tags={}
)
tracker.finish(front=[], files={"a.txt": b"a"})
print(tracker.run_id)
"""


def open_tracker(uri: str) -> Tracker:
    return Tracker.open(uri, "first", storage="/s", resume=False, params={}, tags={})


def test_searches_may_start_together_on_a_new_store(tmp_path: Path):
    """Two processes make the same file; none chats about it, and each has its run."""
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, uri, f"search-{index}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for index in range(2)
    ]
    ended = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    assert [stderr for _, stderr in ended] == ["", ""]
    client = MlflowClient(uri)
    names = {client.get_run(stdout.strip()).info.run_name for stdout, _ in ended}
    assert names == {"search-0", "search-1"}
    assert {path.name for path in tmp_path.iterdir()} == {"new"}, "something in the cwd"


def refused(tmp_path: Path, kind: str) -> str:
    blocked = tmp_path / "file"
    blocked.write_text("no folder, no database")
    if kind == "below a file":
        return f"sqlite:///{blocked}/mlflow.db"
    if kind == "no database":
        return f"sqlite:///{blocked}"
    if kind == "no server":
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            return f"http://127.0.0.1:{listener.getsockname()[1]}"
    return "nonsense://here"


@pytest.mark.parametrize("kind", ["below a file", "no database", "no server", "no such scheme"])
def test_a_place_that_cannot_be_used_is_named(tmp_path: Path, kind: str):
    uri = refused(tmp_path, kind)
    with pytest.raises(StorageError, match="set MLFLOW_TRACKING_URI to") as caught:
        open_tracker(uri)
    assert uri in str(caught.value)


def test_artifacts_that_cannot_be_stored_are_found_at_the_start(tmp_path: Path):
    (tmp_path / "mlartifacts").write_text("no folder")
    with pytest.raises(StorageError, match="cannot record runs in"):
        open_tracker(f"sqlite:///{tmp_path}/mlflow.db")


def test_a_deleted_experiment_is_named(tmp_path: Path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    open_tracker(uri)
    client = MlflowClient(uri)
    client.delete_experiment(client.get_experiment_by_name("perft").experiment_id)
    with pytest.raises(StorageError, match="mlflow experiments restore"):
        open_tracker(uri)


def test_levels_of_other_loggers_come_back(tmp_path: Path):
    logging.getLogger("alembic").setLevel(logging.INFO)
    open_tracker(f"sqlite:///{tmp_path}/mlflow.db")
    assert logging.getLogger("alembic").level == logging.INFO


def test_places_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFT_HOME", "here")
    assert home() == tmp_path / "here"
    assert default_storage() == f"{tmp_path}/here/searches"
    assert default_tracking_uri() == f"sqlite:///{tmp_path}/here/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    assert default_tracking_uri() == f"sqlite:///{tmp_path}/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert default_tracking_uri() == "http://tracking:5000"
    monkeypatch.setenv("PERFT_HOME", "")
    assert home() == Path.home() / ".perft"


def test_where_to_look():
    assert where_to_look("https://tracking") == "https://tracking"
    command = where_to_look("sqlite:////home/me/.perft/mlflow.db")
    assert command == "mlflow ui --backend-store-uri sqlite:////home/me/.perft/mlflow.db"
