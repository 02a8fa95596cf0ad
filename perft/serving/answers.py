"""Answers in OpenAI's form, whole or streamed as server-sent events.

A whole answer is put together from the pieces that a streamed one sends.
"""

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue
from transformers import PreTrainedTokenizerBase

from perft.serving.engine import EndReason, Engine, Request
from perft.serving.text import TextStream

Kind = Literal["completion", "chat"]
DONE = "data: [DONE]\n\n"


@dataclass(frozen=True)
class Piece:
    """A part of a row's text.

    Attributes:
        index: the row's number in its request.
        text: may be empty.
        end: why nothing follows; None before.
    """

    index: int
    text: str
    end: EndReason | None = None


@dataclass
class Answer:
    """The answer to one request, in the making.

    Attributes:
        kind: which of OpenAI's forms it has.
        model: whom the client asked.
        prompt_tokens: of all prompts.
        written: tokens so far, without end of sequence.
    """

    kind: Kind
    model: str
    prompt_tokens: int
    written: int = 0
    _id: str = field(default_factory=lambda: uuid.uuid4().hex)
    _created: int = field(default_factory=lambda: int(time.time()))

    async def pieces(
        self,
        engine: Engine,
        request: Request,
        tokenizer: PreTrainedTokenizerBase,
        stops: Sequence[str],
        timeout: float,
    ) -> AsyncIterator[Piece]:
        """The text of all rows, in pieces; a row that is no longer wanted is dropped."""
        texts = [TextStream(tokenizer, stops) for _ in request.rows]
        try:
            async for event in request.events(timeout):
                text = texts[event.index]
                if text.stopped:
                    continue
                if event.token is None:
                    yield Piece(event.index, text.finish(), event.end)
                    continue
                self.written += 1
                piece = text.add(event.token)
                if text.stopped:
                    yield Piece(event.index, piece, "stop")
                    engine.stop(request, event.index)
                elif piece:
                    yield Piece(event.index, piece)
        finally:
            engine.cancel(request)

    def whole(self, pieces: Sequence[Piece]) -> dict[str, JsonValue]:
        """The body of a whole answer."""
        rows = sorted({piece.index for piece in pieces})
        choices: list[JsonValue] = []
        for index in rows:
            its = [piece for piece in pieces if piece.index == index]
            choices.append(self._choice(index, "".join(p.text for p in its), its[-1].end))
        body = self._body("chat.completion" if self.kind == "chat" else "text_completion", choices)
        return {**body, "usage": self._usage()}

    def opening(self) -> str:
        """The first event of a streamed answer; empty for completions, which need none."""
        if self.kind == "completion":
            return ""
        delta: JsonValue = {"role": "assistant", "content": ""}
        return self._event([{"index": 0, "delta": delta, "finish_reason": None}])

    def event(self, piece: Piece) -> str:
        """A piece as server-sent event."""
        if self.kind == "completion":
            return self._event([self._choice(piece.index, piece.text, piece.end)])
        delta: JsonValue = {"content": piece.text} if piece.text else {}
        return self._event([{"index": piece.index, "delta": delta, "finish_reason": piece.end}])

    def usage_event(self) -> str:
        """The event that tells how much was used."""
        return self._event([], usage=self._usage())

    def _choice(self, index: int, text: str, end: EndReason | None) -> JsonValue:
        said: dict[str, JsonValue] = (
            {"message": {"role": "assistant", "content": text}}
            if self.kind == "chat"
            else {"text": text}
        )
        return {"index": index, **said, "logprobs": None, "finish_reason": end}

    def _event(self, choices: list[JsonValue], **more: JsonValue) -> str:
        kind = "chat.completion.chunk" if self.kind == "chat" else "text_completion"
        return f"data: {json.dumps({**self._body(kind, choices), **more})}\n\n"

    def _body(self, kind: str, choices: list[JsonValue]) -> dict[str, JsonValue]:
        return {
            "id": f"{'chatcmpl' if self.kind == 'chat' else 'cmpl'}-{self._id}",
            "object": kind,
            "created": self._created,
            "model": self.model,
            "choices": choices,
        }

    def _usage(self) -> JsonValue:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.written,
            "total_tokens": self.prompt_tokens + self.written,
        }
