"""Errors in the form that OpenAI's clients know."""

from dataclasses import dataclass, field


@dataclass(eq=False)
class RefusalError(Exception):
    """A request that gets an error for an answer.

    Attributes:
        status: HTTP status.
        message: what was found, what was wanted, what to do.
        kind: OpenAI's type of error.
        param: the field of the request that it is about.
        code: OpenAI's code of the error.
        headers: further headers of the answer.
    """

    status: int
    message: str
    kind: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def to_json(self) -> dict[str, dict[str, str | None]]:
        """The body of the answer."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def bad_request(message: str, param: str | None = None, code: str | None = None) -> RefusalError:
    """What the client has to change."""
    return RefusalError(400, message, param=param, code=code)


def busy(waiting: int) -> RefusalError:
    """More prompts are waiting than the server keeps."""
    return RefusalError(
        429,
        f"the server is busy: {waiting} prompts are waiting; try again in a second",
        kind="rate_limit_exceeded",
        code="queue_full",
        headers={"Retry-After": "1"},
    )


def too_slow(seconds: float) -> RefusalError:
    """The request was not answered in time."""
    return RefusalError(
        504,
        f"the request was not answered within {seconds:g} seconds; ask for fewer tokens, or start "
        "the server with a longer --timeout",
        kind="timeout",
        code="timeout",
    )


def closing() -> RefusalError:
    """The server is about to end."""
    return RefusalError(
        503, "the server is shutting down", kind="server_error", code="shutting_down"
    )


def failed() -> RefusalError:
    """A bug, or no memory left; what it was is in the server's log alone."""
    return RefusalError(
        500, "the server failed; its log says why", kind="server_error", code="failed"
    )
