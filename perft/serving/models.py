"""What is served: a base and adapters on it, by the names that clients use."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from perft.checkpoint import read_adapter
from perft.errors import ConfigError, unknown
from perft.injection import AdapterHost
from perft.models.load import Base
from perft.serving.batch import Row
from perft.serving.engine import Request
from perft.serving.limits import Limits
from perft.serving.refusals import RefusalError, bad_request
from perft.serving.sampling import Sampler, Sampling
from perft.tasks.tokenize import affixes, encode, require_eos


@dataclass(frozen=True)
class Served:
    """A base with its adapters, ready to write.

    Attributes:
        base: the base.
        host: the adapters on it.
        adapters: by the name that clients use, the adapter on the host; None is the base alone.
        limits: what the server takes.
        created: Unix time of the start.
    """

    base: Base
    host: AdapterHost
    adapters: Mapping[str, str | None]
    limits: Limits
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def ends(self) -> set[int]:
        """Token ids that end a text: the tokenizer's, and those of the base's own generation."""
        settings = getattr(self.base.model, "generation_config", None)
        own = getattr(settings, "eos_token_id", None)
        more = own if isinstance(own, list) else [own]
        return {require_eos(self.base.tokenizer), *(end for end in more if end is not None)}

    def adapter(self, model: str) -> str | None:
        """The adapter that a client names.

        Raises:
            RefusalError: if there is none of that name.
        """
        if model not in self.adapters:
            message = unknown("model", model, self.adapters)
            raise RefusalError(404, message, param="model", code="model_not_found")
        return self.adapters[model]

    def prompt_ids(self, text: str) -> list[int]:
        """Token ids of a prompt: those that training and `perft evaluate` see."""
        return [*self._before, *next(encode([text], self.base.tokenizer))]

    @cached_property
    def _before(self) -> tuple[int, ...]:
        return affixes(self.base.tokenizer).before

    def chat_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """Token ids of a conversation by the base's chat template, up to the answer's beginning.

        Raises:
            RefusalError: if the base has none, or it does not take the conversation.
        """
        if self.base.tokenizer.chat_template is None:
            raise bad_request(
                f"the base {self.base.name!r} has no chat template; use /v1/completions",
                "messages", "no_chat_template",
            )  # fmt: skip
        try:
            text = self.base.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # whatever a template raises
            raise bad_request(f"the base's chat template: {error}", "messages") from error
        return next(encode([text], self.base.tokenizer))

    def request(
        self, model: str, prompts: Sequence[list[int]], new_tokens: int | None, sampling: Sampling
    ) -> Request:
        """The rows of a client's request.

        Args:
            model: whom it asks.
            prompts: token ids of its prompts.
            new_tokens: most new tokens; None for as many as server and base take.
            sampling: of its rows; each has draws of its own.

        Raises:
            RefusalError: if it asks for what is not there, or for too much.
        """
        adapter, longest = self.adapter(model), max(map(len, prompts))
        new = self._new_tokens(longest, new_tokens)
        for ids in prompts:
            self._require_known(ids)
        rows = [
            Row(adapter, list(ids), Sampler(sampling.of_row(i))) for i, ids in enumerate(prompts)
        ]
        return Request(rows, new)

    def _new_tokens(self, prompt: int, wanted: int | None) -> int:
        most, positions = self.limits.max_new_tokens, self.base.positions
        if wanted is not None and wanted > most:
            raise bad_request(
                f"max_tokens is {wanted}, and this server writes at most {most}", "max_tokens"
            )
        new = wanted or max(1, min(most, positions - prompt))
        if prompt + new > positions:
            raise bad_request(
                f"the prompt has {prompt} tokens and {new} may follow, and the base takes "
                f"{positions} in all; shorten the prompt or ask for fewer tokens",
                "prompt", "context_length_exceeded",
            )  # fmt: skip
        return new

    def _require_known(self, ids: Sequence[int]) -> None:
        if not ids:
            raise bad_request("the prompt is empty; send at least one token", "prompt")
        if max(ids) >= self.base.embeddings:
            raise bad_request("the prompt has a token that the base does not know", "prompt")


def load_adapters(
    base: Base, folders: Mapping[str, Path]
) -> tuple[AdapterHost, dict[str, str | None]]:
    """Puts adapters on a base.

    Args:
        base: which all of them were trained on.
        folders: adapters by the names that clients use.

    Returns:
        The host, and the adapters on it by these names; the base alone is among them.

    Raises:
        AdapterError: if a folder is damaged or does not fit the base.
        ConfigError: if an adapter has the base's name.
    """
    host = AdapterHost(base.model)
    adapters: dict[str, str | None] = {public_name(base.name): None}
    for i, (name, folder) in enumerate(folders.items()):
        if name in adapters:
            raise ConfigError(f"{name!r} is the base's name; give the adapter another: NAME=FOLDER")
        config, tensors, _ = read_adapter(folder)
        host.load(f"served-{i}", config, tensors)
        adapters[name] = f"served-{i}"
    return host, adapters


def public_name(base: str) -> str:
    """A base's name for clients: a hub id, or the last part of a path."""
    return Path(base).name if Path(base).is_dir() else base
