"""Starts and ends a server: its socket, its token, its signals."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from perft.errors import ConfigError
from perft.serving.app import Service, make_app
from perft.serving.guard import is_loopback

TOKEN = "PERFT_SERVE_TOKEN"  # noqa: S105 - the name of a variable
SHORTEST_TOKEN = 16
GRACE = 30.0
"""Seconds that running requests have when the server is told to end."""


def read_token(host: str, file: Path | None) -> str | None:
    """The token that clients must send; None where none is needed.

    Args:
        host: where the server listens.
        file: holds the token; None for the environment variable `PERFT_SERVE_TOKEN`.

    Raises:
        ConfigError: if there is none and the host is not loopback, or if it is too short.
    """
    if file is not None:
        try:
            token = file.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"--token-file {file} cannot be read: {error}") from error
    else:
        token = os.environ.get(TOKEN, "").strip()
        if not token and is_loopback(host):
            return None
    if not token and file is None:
        raise ConfigError(
            f"--host {host} can be reached from other machines, so a token is needed: write one to "
            f"a file and name it with --token-file, or set {TOKEN}; or keep to --host 127.0.0.1"
        )
    if len(token) < SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
        raise ConfigError(
            f"the token has {len(token)} characters, wanted at least {SHORTEST_TOKEN}, printable "
            "ASCII; make one: python -c 'import secrets; print(secrets.token_urlsafe())'"
        )
    return token


def bind(host: str, port: int) -> socket.socket:
    """A socket with an address, which refuses clients until the server is ready.

    Args:
        host: a name or an address of this machine.
        port: 0 takes a free one.

    Raises:
        ConfigError: if the address is taken or not this machine's.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
        except OSError:
            found.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot listen on port {port} of {host}: {error.strerror}; choose another --port or "
            "--host"
        ) from error
    return found


def url_of(bound: socket.socket) -> str:
    """The server's address for clients on this machine or, if it has one, by its host."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    service: Service, bound: socket.socket, token: str | None, on_ready: Callable[[], None]
) -> None:
    """Answers requests until SIGINT or SIGTERM, then ends or finishes what is running.

    Args:
        service: what answers.
        bound: the socket; it is closed at the end.
        token: what clients must send.
        on_ready: is called when requests are answered.
    """
    config = uvicorn.Config(
        make_app(service, token),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(GRACE) + 5,
    )
    # uvicorn passes the signal on when it has ended, which here is the way to end.
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, service, on_ready).run([bound])


class _Server(uvicorn.Server):
    """A server that says when it is ready, and gives running requests their time at the end."""

    def __init__(
        self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._service, self._on_ready = service, on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Starts to answer."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends, at the latest some seconds after the grace period."""
        self._service.engine.close()
        ending = asyncio.get_running_loop().call_later(GRACE, self._service.engine.end_all)
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()
