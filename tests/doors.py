"""A real MLflow server in this process, behind a door: it may want a login, refuse, or hang."""

import base64
import contextlib
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
from werkzeug.serving import make_server

FIRST = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=perft"
LOGIN = ("ann@home", "p@ss/w:rd?#")


class Door:
    """What stands before the server.

    Attributes:
        wants: the header by which it lets one in; empty to let in everybody.
        status: what it answers in the server's place; empty to let the server answer.
        opened: set while it answers at all.
    """

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app
        self.wants = ""
        self.status = ""
        self.opened = threading.Event()
        self.opened.set()
        self.asked: list[str] = []

    def lock(self, user: str, password: str) -> None:
        """Wants a login from now on."""
        self.wants = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        self.asked.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        self.opened.wait()
        status = self.status
        if self.wants and environ.get("HTTP_AUTHORIZATION") != self.wants:
            status = "401 Unauthorized"
        if status:
            start(status, [("Content-Type", "text/plain")])
            return [b"You are not authenticated. Please log in."]
        environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix("/behind/a/proxy")
        return self._app(environ, start)


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[tuple[str, Door]]:
    """Inside, `HOST:PORT` of a server with its files in a folder, and the door before it."""
    from mlflow import set_tracking_uri
    from mlflow.server import app, constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(constants.SERVE_ARTIFACTS_ENV_VAR, "true")
        patch.setenv(constants.ARTIFACT_ROOT_ENV_VAR, "mlflow-artifacts:/")
        patch.setenv(constants.ARTIFACTS_DESTINATION_ENV_VAR, str(folder / "served"))
        patch.setenv(constants.BACKEND_STORE_URI_ENV_VAR, f"sqlite:///{folder}/server.db")
        app.test_client().get(FIRST)  # makes the store
        try:
            with _served(Door(app.wsgi_app)) as found:
                yield found
        finally:
            set_tracking_uri(None)  # a server takes its own store for everybody's


@contextlib.contextmanager
def _served(door: Door) -> Iterator[tuple[str, Door]]:
    server = make_server("127.0.0.1", 0, door, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", door
    finally:
        door.opened.set()
        server.shutdown()
