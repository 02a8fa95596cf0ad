"""An MLflow server that goes away in mid-search: its records are sent later, once each."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from books import Book, told_by_mlflow, told_by_search
from searches import FIRST_ROUND, SEARCH, SIZE, SPACE
from test_submit import free_port

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1800),
    # MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
]

ONE_GROUP = (*SEARCH, *SPACE, *SIZE, "--groups", "1", "--slots", str(FIRST_ROUND))


class Server:
    """An MLflow server over the store of a home."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{self._port}"}

    def start(self) -> None:
        store = ("--backend-store-uri", f"sqlite:///{self._home}/mlflow.db")
        artifacts = ("--artifacts-destination", str(self._home / "artifacts"))
        place = ("--host", "127.0.0.1", "--port", str(self._port), "--workers", "1")
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *store, *artifacts, *place],
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not self._answers():
            assert self._process.poll() is None, (self._home / "server.log").read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            health = f"{self.environment['MLFLOW_TRACKING_URI']}/health"
            return urllib.request.urlopen(health, timeout=5).status == 200
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    home = tmp_path / "home"
    home.mkdir()
    server = Server(home)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def test_what_a_server_that_is_gone_was_not_told_is_sent_later(start, server: Server):
    job = start(*ONE_GROUP, "--name", "away", environment=server.environment)
    job.until(lambda: job.rungs >= FIRST_ROUND)
    server.kill()
    assert job.end() == 0, job.output + job.errors
    assert "sync" in job.output
    server.start()
    sync = start("jobs/sync.py", "--name", "away", environment=server.environment)
    assert sync.end() == 0, sync.output + sync.errors
    told = told_by_search(job.home, "away")
    assert told_by_mlflow(job.home, "away") == told
    book = Book(job.home, "away")
    assert {run.info.status for run in (book.parent, *book.children.values())} == {"FINISHED"}
    before = book.everything()
    again = start("jobs/sync.py", "--name", "away", environment=server.environment)
    assert again.end() == 0, again.output + again.errors
    assert Book(job.home, "away").everything() == before
