"""An S3 server on loopback, moto's, that fails as it is told to."""

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "bucket"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""Environment of whoever talks to the server; it takes any key."""

SLOW_DOWN = ("503 Slow Down", "SlowDown")
DENIED = ("403 Forbidden", "AccessDenied")

Request = tuple[str, str]
"""Method and path, such as ("PUT", "/bucket/a/b")."""


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any) -> None:
        pass


class S3Server:
    """Serves one bucket.

    Attributes:
        requests: all that has been asked, in order.
        fault: says of a request whether it is refused, and with what (status, code).
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.fault: Callable[[Request], tuple[str, str] | None] = lambda _request: None
        self._moto = DomainDispatcherApplication(create_backend_app)
        handler = _Quiet
        self._server = make_server(
            "127.0.0.1", 0, self._answer, threaded=True, request_handler=handler
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def uri(self, path: str) -> str:
        """The URI of a folder in the bucket."""
        endpoint = f"http%3A%2F%2F127.0.0.1%3A{self._server.server_port}"
        return f"s3://{BUCKET}/{path}?endpoint_override={endpoint}&scheme=http&region=us-east-1"

    def refuse(self, kind: tuple[str, str], *, times: int) -> None:
        """Refuses the next so many requests."""
        left = itertools.repeat(kind, times)
        self.fault = lambda _request: next(left, None)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        request = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append(request)
        refusal = self.fault(request)
        if refusal is None:
            return self._moto(environ, start)
        status, code = refusal
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = f"<Error><Code>{code}</Code><Message>as the test wants</Message></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server with an empty bucket."""
    server = S3Server()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{server._server.server_port}",
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    )
    try:
        for bucket in client.list_buckets()["Buckets"]:  # of an earlier server: moto has one memory
            contents = client.list_objects_v2(Bucket=bucket["Name"]).get("Contents", [])
            for each in contents:
                client.delete_object(Bucket=bucket["Name"], Key=each["Key"])
            client.delete_bucket(Bucket=bucket["Name"])
        client.create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.close()
