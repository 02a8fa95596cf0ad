"""Turns examples into token rows, once, as flat arrays.

Invariant: an answer is never cut at its beginning and never loses a token while its prompt still
has more than one.

Prompt and completion are tokenised separately and then joined, so that generation continues from
exactly the ids that training saw. A beginning-of-sequence token is put first when the tokenizer
itself puts one, and counts as part of the prompt.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from perft.errors import BaseModelError, ConfigError
from perft.tasks.task import Example

_CHUNK = 2048  # texts per call: a fast tokenizer's own records take far more room than the ids


class Tokenizer(Protocol):
    """What is used of a Hugging Face tokenizer."""

    @property
    def bos_token_id(self) -> int | None:
        """Id of the beginning-of-sequence token."""

    @property
    def eos_token_id(self) -> int | None:
        """Id of the end-of-sequence token."""

    def __call__(
        self, text: list[str], *, add_special_tokens: bool, verbose: bool
    ) -> Mapping[str, list[list[int]]]:
        """Tokenises texts; the ids are under "input_ids"."""


@dataclass(frozen=True, eq=False)
class TokenRows:
    """N token rows of different lengths in flat arrays.

    Attributes:
        ids: int32, all rows, in whatever order.
        starts: int64, (N); row i is `ids[starts[i]:starts[i] + lengths[i]]`.
        lengths: int32, (N); tokens of row i.
        prompt_lengths: int32, (N); how many tokens at the start of row i carry no loss.
        truncated: how many rows were cut to fit.
    """

    ids: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    prompt_lengths: npt.NDArray[np.int32]
    truncated: int

    def __len__(self) -> int:
        return len(self.prompt_lengths)

    def row(self, index: int) -> tuple[npt.NDArray[np.int32], int]:
        """The ids of one row (a view) and how many of them, at its start, carry no loss."""
        start = self.starts[index]
        ids = self.ids[start : start + self.lengths[index]]
        return ids, int(self.prompt_lengths[index])


def tokenize(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    max_length: int,
    loss_on: Literal["answer", "all"],
    *,
    ends: bool = True,
) -> TokenRows:
    """Rows of prompt, completion and end of sequence, for training and validation loss.

    A row longer than `max_length` loses the beginning of its prompt. Where the completion alone
    is too long, one token of the prompt stays and the completion's end is cut.

    Args:
        examples: become one row each, in their order.
        tokenizer: the base's.
        max_length: tokens of a whole row.
        loss_on: with "answer" the prompt carries no loss; with "all" every token does, so that
            `prompt_lengths` is 0.
        ends: whether end of sequence follows the completion.

    Raises:
        BaseModelError: when the tokenizer has no end-of-sequence token.
        ConfigError: when `max_length` has no room for one token each of prompt and completion.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise BaseModelError(
            "the base's tokenizer has no end-of-sequence token; set eos_token in its "
            "tokenizer_config.json"
        )
    bos = _bos(tokenizer)
    room = _room("max_length", max_length, len(bos), 2)
    prompts = _encode([example.prompt for example in examples], tokenizer)
    completions = _encode([example.completion for example in examples], tokenizer)
    ids, lengths, prompt_lengths, truncated = array("i"), [], [], 0
    for prompt, completion in zip(prompts, completions, strict=True):
        answer = [*completion, eos] if ends else completion
        kept_answer = answer[: room - min(1, len(prompt))]
        kept_prompt = _end(prompt, room - len(kept_answer))
        truncated += len(prompt) + len(answer) > room
        ids.extend([*bos, *kept_prompt, *kept_answer])
        lengths.append(len(bos) + len(kept_prompt) + len(kept_answer))
        prompt_lengths.append(len(bos) + len(kept_prompt) if loss_on == "answer" else 0)
    return _rows(ids, lengths, prompt_lengths, truncated)


def tokenize_prompts(
    examples: Sequence[Example], tokenizer: Tokenizer, max_prompt_length: int
) -> TokenRows:
    """Rows of the prompt alone, for generation; the ids are those of `tokenize`.

    A prompt longer than `max_prompt_length` loses its beginning. `prompt_lengths` are the rows'.

    Raises:
        ConfigError: when `max_prompt_length` has no room for one token of the prompt.
    """
    bos = _bos(tokenizer)
    room = _room("max_prompt_length", max_prompt_length, len(bos), 1)
    ids, lengths, truncated = array("i"), [], 0
    for prompt in _encode([example.prompt for example in examples], tokenizer):
        kept = _end(prompt, room)
        truncated += len(kept) < len(prompt)
        ids.extend([*bos, *kept])
        lengths.append(len(bos) + len(kept))
    return _rows(ids, lengths, lengths, truncated)


def tokenize_choices(
    examples: Sequence[Example], tokenizer: Tokenizer, max_length: int
) -> TokenRows:
    """One row for every choice of every example, in order, without end of sequence.

    Raises:
        BaseModelError, ConfigError: as `tokenize`.
    """
    choices = [replace(each, completion=text) for each in examples for text in each.choices]
    return tokenize(choices, tokenizer, max_length, "answer", ends=False)


def longest_choice(examples: Sequence[Example], tokenizer: Tokenizer) -> int:
    """Tokens of the longest choice there is; 0 where there are none."""
    texts = sorted({choice for example in examples for choice in example.choices})
    return max(map(len, _encode(texts, tokenizer)), default=0)


def _bos(tokenizer: Tokenizer) -> list[int]:
    """The beginning-of-sequence id, when the tokenizer puts one before a text by itself."""
    bos = tokenizer.bos_token_id
    probe = tokenizer(["1"], add_special_tokens=True, verbose=False)["input_ids"][0]
    return [bos] if bos is not None and probe[:1] == [bos] else []


def _room(name: str, limit: int, bos: int, least: int) -> int:
    if limit < bos + least:
        raise ConfigError(f"{name} must be at least {bos + least} for this base, found {limit}")
    return limit - bos


def _encode(texts: list[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        yield from tokenizer(chunk, add_special_tokens=False, verbose=False)["input_ids"]


def _end(ids: list[int], size: int) -> list[int]:
    return ids[max(0, len(ids) - size) :]


def _rows(
    ids: "array[int]", lengths: list[int], prompt_lengths: list[int], truncated: int
) -> TokenRows:
    ends = np.cumsum(lengths, dtype=np.int64)
    return TokenRows(
        ids=np.array(ids, dtype=np.int32),
        starts=ends - np.array(lengths, dtype=np.int64),
        lengths=np.array(lengths, dtype=np.int32),
        prompt_lengths=np.array(prompt_lengths, dtype=np.int32),
        truncated=truncated,
    )
