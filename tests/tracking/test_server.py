"""A search on a real MLflow server: with a login, behind a proxy, away in the middle of it."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient

from doors import LOGIN, Door, serving
from perft.errors import StorageError
from perft.storage import Storage
from perft.tracking import Recorder, Tracking, sender, tracker_of
from perft.tracking.mlflow.place import require_usable
from perft.trial import TrialResult
from pretend import SETTINGS, adapter_files, trial

pytestmark = [
    pytest.mark.slow,
    # MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:starlette.middleware.wsgi is deprecated"),
]

WITH_LOGIN = ":".join(quote(part, safe="") for part in LOGIN)
VARIABLES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Door]]:
    with serving(tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def host(server: tuple[str, Door]) -> str:
    return server[0]


@pytest.fixture
def door(server: tuple[str, Door]) -> Iterator[Door]:
    yield server[1]
    server[1].wants = server[1].status = ""
    server[1].opened.set()


@pytest.fixture(autouse=True)
def no_login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "")  # so that what is set meanwhile goes again
        monkeypatch.delenv(name)


@pytest.fixture
def folder(tmp_path: Path) -> Storage:
    folder = Storage(str(tmp_path / "folder")).prepare()
    for name, data in adapter_files(0).items():
        folder.write(f"adapters/0000/{name}", data)
    return folder


def tracking(uri: str, folder: Storage, name: str, tell: Callable[[str], None]) -> Tracking:
    return Tracking(
        tracker=tracker_of("mlflow"),
        place=uri,
        folder=folder,
        name=name,
        params=SETTINGS,
        tell=tell,
        later=lambda: "perft sync",
    )


def record(tracker: Recorder, result: TrialResult) -> None:
    assert result.size is not None
    tracker.start_trial(0, result.config)
    for report in result.reports:
        tracker.report(0, result.size, report)
    tracker.end_trial(result, "adapters/0000")
    tracker.finish("FINISHED", front=[0])


def require_complete(host: str, tracker: Recorder) -> None:
    client = MlflowClient(f"http://{host}")
    run = client.get_run(tracker.run_id(0))
    assert run.info.status == "FINISHED"
    assert run.data.tags["perft.front"] == "true"
    steps = [one.step for one in client.get_metric_history(run.info.run_id, "accuracy")]
    assert steps == [report.step for report in trial(0).reports]
    files = {file.path for file in client.list_artifacts(run.info.run_id, "adapter")}
    assert files == {f"adapter/{name}" for name in adapter_files(0)}
    assert "@" not in client.get_run(run.data.tags["mlflow.parentRunId"]).info.artifact_uri


@pytest.mark.parametrize("end", ["", "/", "/behind/a/proxy", "/behind/a/proxy/"])
def test_a_login_in_the_address_is_used(host: str, door: Door, folder: Storage, end: str):
    door.lock(*LOGIN)
    uri = f"http://{WITH_LOGIN}@{host}{end}"
    require_usable(uri)
    tracker = Recorder.start(tracking(uri, folder, "first", print))
    record(tracker, trial(0))
    assert tracker.close()
    door.wants = ""
    require_complete(host, tracker)


def test_a_login_in_the_environment_is_used(host: str, door: Door, monkeypatch: pytest.MonkeyPatch):
    door.lock(*LOGIN)
    for name, value in zip(VARIABLES, LOGIN, strict=False):
        monkeypatch.setenv(name, value)
    require_usable(f"http://{host}")
    door.wants = "Bearer some-token"
    with pytest.raises(StorageError, match="401"):
        require_usable(f"http://{host}")
    for name, value in zip(VARIABLES, ("", "", "some-token"), strict=True):
        monkeypatch.setenv(name, value)
    require_usable(f"http://{host}")


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_who_is_not_let_in_hears_what_to_set(host: str, door: Door, status: str):
    door.status = status
    with pytest.raises(StorageError, match="set MLFLOW_TRACKING_USERNAME") as caught:
        require_usable(f"http://ann:wrong@{host}")
    assert "wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "message"),
    [("503 Service Unavailable", "503 Service Unavailable"), ("404 Not Found", "not as an MLflow")],
)
def test_what_is_no_server_of_mlflow_is_refused(host: str, door: Door, status: str, message: str):
    door.status = status
    with pytest.raises(StorageError, match=message):
        require_usable(f"http://{host}")


@pytest.mark.parametrize("fault", ["503 Service Unavailable", "500 Internal Server Error", "hangs"])
def test_a_server_that_is_away_in_the_middle_misses_nothing(
    host: str, door: Door, folder: Storage, monkeypatch: pytest.MonkeyPatch, fault: str
):
    monkeypatch.setattr(sender, "PATIENCE_SECONDS", 0.3)
    told: list[str] = []
    tracker = Recorder.start(tracking(f"http://{host}", folder, f"through {fault}", told.append))
    if fault == "hangs":
        door.opened.clear()
    else:
        door.status = fault
    started = time.monotonic()
    record(tracker, trial(0))
    assert time.monotonic() - started < 30, "who trains waits for MLflow"
    while not told:
        time.sleep(0.01)
    assert "the search goes on" in told[0]
    assert "perft sync" in told[0]
    door.status = ""
    door.opened.set()
    assert tracker.close(60)
    assert told[-1] == f"MLflow at http://{host} is back, and has all records"
    require_complete(host, tracker)
