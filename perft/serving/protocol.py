"""The requests of OpenAI's interface that are taken, field by field.

A field that would change the answer and is not supported is refused by name; one at the value that
changes nothing is taken. Fields: https://platform.openai.com/docs/api-reference/completions and
.../chat.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator
from pydantic_core import PydanticCustomError

from perft.serving.limits import MAX_PROMPTS, MAX_STOPS
from perft.serving.sampling import Sampling

_WITHOUT_EFFECT: Mapping[str, tuple[JsonValue, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
"""Fields that are not supported, and their values that change nothing, beside null."""


def _as_list(value: JsonValue) -> JsonValue:
    return [value] if isinstance(value, str) else value


OneOrMore = BeforeValidator(_as_list, json_schema_input_type=str | list[str])
"""A text stands for a list of one."""
Stop = Annotated[str, Field(min_length=1)]


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    model_config = ConfigDict(extra="forbid")

    include_usage: bool = False


class TextRequest(BaseModel):
    """What both kinds of requests have."""

    model_config = ConfigDict(extra="forbid")

    model: str
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: Annotated[list[Stop] | None, OneOrMore, Field(max_length=MAX_STOPS)] = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, body: JsonValue) -> JsonValue:
        if not isinstance(body, dict):
            return body
        for name, value in body.items():
            if name not in _WITHOUT_EFFECT or value is None or value in _WITHOUT_EFFECT[name]:
                continue
            raise PydanticCustomError(
                "unsupported",
                "perft serve does not support '{param}'; leave it out",
                {"param": name},
            )
        return {name: value for name, value in body.items() if name not in _WITHOUT_EFFECT}

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen; OpenAI's defaults."""
        return Sampling(
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=None if self.seed is None else self.seed % 2**64,
        )

    @property
    def wants_usage(self) -> bool:
        """Whether a streamed answer ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionRequest(TextRequest):
    """The body of a completion: one prompt, or several."""

    prompt: Annotated[list[str], OneOrMore, Field(min_length=1, max_length=MAX_PROMPTS)]


class TextPart(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """A message of a conversation."""

    model_config = ConfigDict(extra="forbid")

    role: str
    content: str | list[TextPart]
    name: str | None = None

    def to_template(self) -> dict[str, str]:
        """The message as chat templates take it."""
        parts = [self.content] if isinstance(self.content, str) else [p.text for p in self.content]
        return {"role": self.role, "content": "".join(parts)}


class ChatRequest(TextRequest):
    """The body of a chat completion."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)

    @property
    def most_tokens(self) -> int | None:
        """Most new tokens, by either of OpenAI's names."""
        return self.max_completion_tokens or self.max_tokens
