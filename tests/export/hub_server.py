"""A stand-in for the Hugging Face hub on loopback: it takes a login, a repository and its files."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_letmein"


class Hub:
    """What was sent to it.

    Attributes:
        address: of the server.
        repos: by id, the request that made it.
        files: by name, of the last commit.
        message: of that commit.
        refuses: an error that commits are answered with; 0 for none.
    """

    def __init__(self) -> None:
        self.address = ""
        self.repos: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.message = ""
        self.refuses = 0
        self.stored: dict[str, bytes] = {}

    def commit(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.message = value["summary"]
            elif line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.stored[value["oid"]]


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, value: object, status: int = 200) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._answer({"error": "Invalid user token."}, 401)
            elif self.path == "/api/whoami-v2":
                self._answer({"name": "me", "type": "user"})
            else:
                self._answer({"error": "not found"}, 404)

        def do_PUT(self) -> None:
            data = self._body()
            hub.stored[hashlib.sha256(data).hexdigest()] = data
            self._answer({})

        def do_POST(self) -> None:
            body = self._body()
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self._answer({"error": "Invalid user token."}, 401)
            elif self.path == "/api/repos/create":
                made = json.loads(body)
                hub.repos[f"{made.get('organization', 'me')}/{made['name']}"] = made
                self._answer({"url": f"{hub.address}/me/{made['name']}"})
            elif "/preupload/" in self.path:
                self._answer({"files": [
                    {
                        "path": file["path"], "shouldIgnore": False,
                        "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                    }
                    for file in json.loads(body)["files"]
                ]})  # fmt: skip
            elif self.path.endswith("/info/lfs/objects/batch"):
                self._answer({"transfer": "basic", "objects": [
                    {
                        **each,
                        "actions": {"upload": {"href": f"{hub.address}/lfs/{each['oid']}"}},
                    }
                    for each in json.loads(body)["objects"]
                ]})  # fmt: skip
            elif "/commit/" in self.path and hub.refuses:
                self._answer({"error": "You are out of storage."}, hub.refuses)
            elif "/commit/" in self.path:
                hub.commit([json.loads(line) for line in body.splitlines()])
                self._answer({"commitUrl": f"{hub.address}/me/x/commit/1", "commitOid": "1" * 40})
            else:
                self._answer({"errors": [], "warnings": []})

    return Handler


@contextmanager
def hub_server() -> Iterator[Hub]:
    """Runs a hub until the end of the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
