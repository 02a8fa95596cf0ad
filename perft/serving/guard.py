"""Stands before the application: who may ask, and how large a request may be."""

import hmac
import ipaddress
import json
from collections.abc import Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from perft.serving.limits import MAX_BODY
from perft.serving.refusals import RefusalError

OPEN = ("/health",)
"""Paths that need no token: a balancer asks them."""


class Guard:
    """Checks the token, or without one the host that the client names, and the body's size.

    Without a token, a web page could make its visitor's browser ask a server on loopback by a name
    of its own that leads there (DNS rebinding): so the host must be a loopback one.

    Args:
        app: what is guarded.
        token: what clients must send as `Authorization: Bearer TOKEN`; None for nothing.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it with an error."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            self._require_allowed(scope["path"], headers)
            received = await _body(headers, receive)
        except RefusalError as error:
            await _answer(error, send)
            return
        await self._app(scope, _replay(received, receive), send)

    def _require_allowed(self, path: str, headers: dict[bytes, bytes]) -> None:
        if path in OPEN:
            return
        if self._token is None:
            _require_loopback(headers.get(b"host", b"").decode("latin-1"))
            return
        given = headers.get(b"authorization", b"")
        wanted = f"Bearer {self._token}".encode()
        if not hmac.compare_digest(given, wanted):
            raise RefusalError(
                401,
                "the token is missing or wrong; send it as the API key (Authorization: Bearer ...)",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, seen from itself alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_loopback(host: str) -> None:
    # As in a URL: an IPv6 address is in brackets.
    address, _, _ = host.removeprefix("[").partition("]" if host.startswith("[") else ":")
    if not is_loopback(address):
        raise RefusalError(
            403, f"the host {address!r} is not this machine's loopback; ask 127.0.0.1 or localhost"
        )


async def _body(headers: dict[bytes, bytes], receive: Receive) -> list[Message]:
    """The messages of a request's body.

    Raises:
        RefusalError: if it is too large; no more than is allowed is kept.
    """
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > MAX_BODY:
        raise _too_large()
    messages, size, more = [], 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY:
            raise _too_large()
        more = message["type"] == "http.request" and message.get("more_body", False)
        messages.append(message)
    return messages


def _too_large() -> RefusalError:
    return RefusalError(413, f"the request's body has more than {MAX_BODY:,} bytes; shorten it")


def _replay(messages: Iterable[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def replayed() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return replayed


async def _answer(error: RefusalError, send: Send) -> None:
    body = json.dumps(error.to_json()).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",  # what is left of the body is not read
        **error.headers,
    }
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
