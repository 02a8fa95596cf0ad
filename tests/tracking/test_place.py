"""Where runs are recorded: made when missing, shared by searches, refused with a reason."""

import contextlib
import re
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from mlflow import MlflowClient

from perft.compat.mlflow import schemas
from perft.errors import StorageError
from perft.home import default_storage, default_tracking_uri, home
from perft.masking import masked
from perft.storage import Storage
from perft.tracking import Recorder, Tracking, tracker_of
from perft.tracking.mlflow import place, sqlite
from perft.tracking.mlflow.client import connect
from perft.tracking.mlflow.place import require_usable, where_to_look

# MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

OPEN = """
import sys
from perft.storage import Storage
from perft.tracking import Recorder, Tracking, tracker_of
folder = Storage(sys.argv[2]).prepare()
tracking = Tracking(
    tracker=tracker_of("mlflow"), place=sys.argv[1], folder=folder, name=folder.uri,
    params={"seed": 0}, tell=print, later=lambda: "",
)
tracker = Recorder.start(tracking)
tracker.finish("FINISHED", front=[])
assert tracker.close()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "folder")).prepare()


def test_searches_may_start_together_on_a_new_store(tmp_path: Path):
    """Two processes make the same file; none chats about it, and each has its run."""
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    names = [f"{tmp_path}/search-{index}" for index in range(2)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, uri, name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for name in names
    ]
    ended = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    assert ended == [("", ""), ("", "")]
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("perft").experiment_id
    assert {run.info.run_name for run in client.search_runs([experiment])} == set(names)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"new", "search-0", "search-1"}, "something in the cwd"


REFUSED = {
    "": "no longer writes to folders",
    "./mlruns": "no longer writes to folders",
    "file:///somewhere": "no longer writes to folders",
    "nonsense://here": "no such kind of place",
    "s3://KEY:SECRET@bucket/x": "no such kind of place",
    "sqlite://": "no such kind of place",
    "sqlite:///:memory:": "no such kind of place",
    "sqlite:////proc/nowhere/mlflow.db": "No such file",
    "sqlite:////proc/mlflow.db": "unable to open",
    "databricks": "DATABRICKS_HOST",
    "databricks://nobody": "has no profile 'nobody'",
    "postgresql://ann:SECRET@host/db": "driver is not installed",
    "mysql+pymysql://ann:SECRET@host/db": "driver is not installed",
    "mssql+pyodbc://ann:SECRET@host/db": "driver is not installed",
    "mysql://host:port/db": "invalid literal",
    "mysql://ann:SEC/RET@host:port/db": "driver|cannot be read",
    "http://": "no address of a server",
    "http:/host": "no address of a server",
    "https://[::1": "no address of a server",
    "http://host:port": "no address of a server",
    "http://host:99999": "no address of a server",
    "http://ann:SEC/RET@host": "%2F",
    f"http://{'a' * 70}.com": "no address of a server",
    "http://two words": "invalid character",
    "http://127.0.0.1:1": "refused",
    "http://ann:SECRET@127.0.0.1:1/prefix/": "refused",
}


@pytest.mark.parametrize("uri", REFUSED)
def test_a_place_that_cannot_be_used_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uri: str
):
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=REFUSED[uri]) as caught:
        require_usable(uri)
    said = str(caught.value)
    assert said.startswith(f"cannot record runs in {masked(uri)}: ")
    assert "\n" not in said
    assert not re.search("SEC|RET|KEY", said)


def test_a_place_that_never_answers_is_refused_in_time(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(place, "SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(StorageError, match="no answer within"):
            require_usable(address)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("no folder, no database" * 100)
    for uri in (f"sqlite:///{tmp_path}/file", f"sqlite:///{tmp_path}/file/mlflow.db"):
        with pytest.raises(StorageError, match=r"not a database|File exists"):
            require_usable(uri)


def test_a_database_that_another_has_locked_is_refused_unless_a_search_makes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(sqlite, "_LOCKED_SECONDS", 0.1)
    path = tmp_path / "mlflow.db"
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageError, match="database is locked"):
            require_usable(f"sqlite:///{path}")
        with FileLock(sqlite.lock_of(path)):
            require_usable(f"sqlite:///{path}")


@pytest.mark.parametrize(
    ("revision", "message"), [("0a8213491aaa", "mlflow db upgrade"), ("f" * 12, "newer MLflow")]
)
def test_the_schema_of_another_mlflow_is_refused(tmp_path: Path, revision: str, message: str):
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as store:
        store.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        store.execute("INSERT INTO alembic_version VALUES (?)", (revision,))
        store.commit()
    with pytest.raises(StorageError, match=message):
        require_usable(f"sqlite:///{tmp_path}/mlflow.db")


def test_the_schema_of_this_mlflow_is_known(tmp_path: Path):
    assert connect(f"sqlite:///{tmp_path}/mlflow.db")
    require_usable(f"sqlite:///{tmp_path}/mlflow.db")


def test_artifacts_that_cannot_be_stored_are_found_at_the_start(tmp_path: Path, folder: Storage):
    (tmp_path / "mlartifacts").write_text("no folder")
    with pytest.raises(StorageError, match="cannot record runs in"):
        Recorder.start(
            Tracking(
                tracker=tracker_of("mlflow"),
                place=f"sqlite:///{tmp_path}/mlflow.db",
                folder=folder,
                name="first",
                params={},
                tell=print,
                later=lambda: "perft sync",
            )
        )
    client, experiment = connect(f"sqlite:///{tmp_path}/mlflow.db")
    assert [run.info.status for run in client.search_runs([experiment])] == ["FAILED"]


def test_a_deleted_experiment_is_named(tmp_path: Path):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client, experiment = connect(uri)
    client.delete_experiment(experiment)
    with pytest.raises(StorageError, match="mlflow experiments restore"):
        connect(uri)


def test_places_are_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERFT_HOME", "here")
    assert home() == tmp_path / "here"
    assert default_storage() == f"{tmp_path}/here/searches"
    assert default_tracking_uri() == f"sqlite:///{tmp_path}/here/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    assert default_tracking_uri() == f"sqlite:///{tmp_path}/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite+pysqlite:///runs.db?timeout=5")
    assert default_tracking_uri() == f"sqlite:///{tmp_path}/runs.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking:5000")
    assert default_tracking_uri() == "http://tracking:5000"
    monkeypatch.setenv("PERFT_HOME", "")
    assert home() == Path.home() / ".perft"


def test_where_to_look(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert where_to_look("https://tracking") == "https://tracking"
    assert where_to_look("https://ann:pass@tracking") == "https://***@tracking"
    command = where_to_look("sqlite:////home/me/.perft/mlflow.db")
    assert command == "mlflow ui --backend-store-uri sqlite:////home/me/.perft/mlflow.db"
    command = where_to_look("sqlite:////home/my own/mlflow.db")
    assert command == "mlflow ui --backend-store-uri 'sqlite:////home/my own/mlflow.db'"


def test_a_program_that_no_shell_finds_is_named_by_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    monkeypatch.setattr("sys.executable", str(tmp_path / "my env" / "python"))
    assert where_to_look("sqlite:///x.db") == "mlflow ui --backend-store-uri sqlite:///x.db"
    (tmp_path / "my env").mkdir()
    (tmp_path / "my env" / "mlflow").touch()
    command = where_to_look("sqlite:///x.db")
    assert command == f"'{tmp_path}/my env/mlflow' ui --backend-store-uri sqlite:///x.db"


def test_a_store_that_another_search_makes_may_have_an_older_schema_yet(tmp_path: Path):
    path = tmp_path / "mlflow.db"
    known, newest = schemas()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", sorted(known - newest)[:1])
        connection.commit()
    with FileLock(sqlite.lock_of(path)):
        require_usable(f"sqlite:///{path}")
    with pytest.raises(StorageError, match="is of an older MLflow"):
        require_usable(f"sqlite:///{path}")
