"""The HTTP interface: OpenAI's completions and chat, health and metrics."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import TypeVar

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from pydantic import JsonValue
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

import perft
from perft.serving.answers import DONE, Answer, Kind, Piece
from perft.serving.batch import RunningBatch
from perft.serving.engine import Engine, Request
from perft.serving.guard import Guard
from perft.serving.measures import Measures
from perft.serving.models import Served, public_name
from perft.serving.protocol import ChatRequest, CompletionRequest, TextRequest
from perft.serving.refusals import RefusalError

Found = TypeVar("Found")

SECONDS_BETWEEN_LOOKS = 0.2
"""How often a client that waits for a whole answer is looked for."""
CLIENT_GONE = 499
"""The status, as nginx has it, of a request whose client has gone."""
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Service:
    """A served base at work.

    Args:
        served: what is served.

    Attributes:
        engine: writes the answers.
        measures: what is counted.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        pad: int = served.base.tokenizer.pad_token_id
        batch = RunningBatch(served.host, pad)
        self.engine = Engine(batch, served.limits, served.ends)
        self.measures = Measures(self.engine)

    async def answer(
        self, http: HttpRequest, body: TextRequest, kind: Kind, request: Request
    ) -> Response:
        """The answer to a request: streamed, or whole."""
        prompt_tokens = sum(len(row.ids) for row in request.rows)
        answer = Answer(kind, body.model, prompt_tokens)
        self.measures.tokens.labels(body.model, "prompt").inc(prompt_tokens)
        self.engine.submit(request)
        pieces = self._counted(answer, request, body.stop or ())
        if body.stream:
            events = self._events(answer, pieces, with_usage=body.wants_usage)
            return _Stream(events, lambda: self.engine.cancel(request))
        return JSONResponse(answer.whole(await _unless_gone(http, _all_of(pieces))))

    async def _counted(
        self, answer: Answer, request: Request, stops: Sequence[str]
    ) -> AsyncIterator[Piece]:
        """The answer's pieces, in time and counted."""
        began, status, is_first = time.monotonic(), CLIENT_GONE, True
        timeout, tokenizer = self.served.limits.timeout, self.served.base.tokenizer
        try:
            async for piece in answer.pieces(self.engine, request, tokenizer, stops, timeout):
                if is_first:
                    self.measures.first_token.observe(time.monotonic() - began)
                is_first = False
                yield piece
            status = 200
            self.measures.latency.observe(time.monotonic() - began)
        except RefusalError as error:
            status = error.status
            raise
        finally:
            self.measures.tokens.labels(answer.model, "written").inc(answer.written)
            self.measures.requests.labels(answer.model, status).inc()

    async def _events(
        self, answer: Answer, pieces: AsyncIterator[Piece], *, with_usage: bool
    ) -> AsyncIterator[str]:
        yield answer.opening()
        try:
            async for piece in pieces:
                yield answer.event(piece)
        except RefusalError as error:
            yield f"data: {json.dumps(error.to_json())}\n\n"
            return
        if with_usage:
            yield answer.usage_event()
        yield DONE


class _Stream(StreamingResponse):
    """Server-sent events; `on_end` is called also when the client has gone before the first."""

    def __init__(self, events: AsyncIterator[str], on_end: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the events."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()


def make_app(service: Service, token: str | None = None) -> FastAPI:
    """The application.

    Args:
        service: what answers.
        token: what clients must send; None on loopback.
    """
    app = FastAPI(title="perft serve", version=perft.__version__, lifespan=_running(service))
    app.add_middleware(Guard, token=token)
    _add_errors(app)
    _add_state(app, service)
    _add_texts(app, service)
    return app


def _running(service: Service) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.engine.run())
        try:
            yield
        finally:
            service.engine.close()
            service.engine.end_all()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    return lifespan


def _add_texts(app: FastAPI, service: Service) -> None:
    served = service.served

    @app.post("/v1/completions")
    async def completions(http: HttpRequest, body: CompletionRequest) -> Response:
        """Continues prompts."""
        prompts = [served.prompt_ids(text) for text in body.prompt]
        new = body.max_tokens or min(OPENAI_MAX_TOKENS, served.limits.max_new_tokens)
        request = served.request(body.model, prompts, new, body.sampling)
        return await service.answer(http, body, "completion", request)

    @app.post("/v1/chat/completions")
    async def chat(http: HttpRequest, body: ChatRequest) -> Response:
        """Answers a conversation."""
        ids = served.chat_ids([message.to_template() for message in body.messages])
        request = served.request(body.model, [ids], body.most_tokens, body.sampling)
        return await service.answer(http, body, "chat", request)


OPENAI_MAX_TOKENS = 16
"""OpenAI's default of a completion's `max_tokens`."""


def _add_state(app: FastAPI, service: Service) -> None:
    served = service.served
    base = public_name(served.base.name)

    def model(name: str) -> dict[str, JsonValue]:
        adapter = served.adapter(name)
        kind = None if adapter is None else served.host.configs[adapter].variant
        return {
            "id": name,
            "object": "model",
            "created": served.created,
            "owned_by": "perft",
            "parent": None if adapter is None else base,
            "variant": kind,
            "max_model_len": served.base.positions,
        }

    @app.get("/v1/models")
    async def models() -> dict[str, JsonValue]:
        """The base and every adapter on it."""
        return {"object": "list", "data": [model(name) for name in served.adapters]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, JsonValue]:
        """One of them."""
        return model(name)

    @app.get("/health")
    async def health() -> dict[str, JsonValue]:
        """Says that the server answers."""
        return {"status": "ok"}

    @app.get("/metrics")
    async def metrics() -> Response:
        """What is counted, in Prometheus' text format."""
        return PlainTextResponse(service.measures.text(), media_type=METRICS)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RefusalError)
    async def refused(_http: HttpRequest, error: RefusalError) -> Response:
        return JSONResponse(error.to_json(), error.status, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(http: HttpRequest, error: RequestValidationError) -> Response:
        return await refused(http, _of_validation(error))

    @app.exception_handler(HTTPException)
    async def other(http: HttpRequest, error: HTTPException) -> Response:
        return await refused(http, RefusalError(error.status_code, str(error.detail)))


def _of_validation(error: RequestValidationError) -> RefusalError:
    """The first mistake of a body, with the field that it is in."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return RefusalError(400, f"the body is no JSON: {first['ctx']['error']}")
    path = [str(part) for part in first["loc"] if part != "body"]
    if first["type"] == "extra_forbidden":
        return RefusalError(
            400, f"perft serve knows no {'.'.join(path)!r}; leave it out", param=path[0]
        )
    param = str((first.get("ctx") or {}).get("param") or (path[0] if path else "")) or None
    where = f"{'.'.join(path)}: " if path else ""
    code = "unsupported_parameter" if first["type"] == "unsupported" else None
    return RefusalError(400, f"{where}{first['msg']}", param=param, code=code)


async def _all_of(pieces: AsyncIterator[Piece]) -> list[Piece]:
    return [piece async for piece in pieces]


async def _unless_gone(http: HttpRequest, work: Awaitable[Found]) -> Found:
    """What `work` finds; it is cancelled when the client has gone."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=SECONDS_BETWEEN_LOOKS)
            if not task.done() and await http.is_disconnected():
                raise RefusalError(CLIENT_GONE, "the client has gone")
    finally:
        task.cancel()
    return task.result()
