"""Turns examples into token rows, once, as flat arrays.

Invariant: an answer is never cut at its beginning and never loses a token while its prompt still
has more than one.

Prompt and completion are tokenised separately and then joined, so that generation continues from
exactly the ids that training saw. Tokens that the tokenizer puts before a text come first and count
as part of the prompt. Tokens that it puts after a text end training rows only, followed by end of
sequence if that is not the last of them. Texts that a chat template has written get neither, but
end of sequence where it is missing.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from perft.errors import BaseModelError, ConfigError
from perft.tasks.task import Example

_PROBES = ("1", "ab c", "Yes: 27.")
_CHUNK = 2048  # texts per call: a fast tokenizer's encodings take far more memory than the ids


class Tokenizer(Protocol):
    """The part of a Hugging Face tokenizer that is used."""

    @property
    def eos_token_id(self) -> int | None:
        """Id of the end-of-sequence token."""

    def __call__(
        self, text: list[str], *, add_special_tokens: bool, verbose: bool
    ) -> Mapping[str, list[list[int]]]:
        """Tokenises texts; the ids are under "input_ids"."""


@dataclass(frozen=True)
class Affixes:
    """Ids that a tokenizer puts before and after every text."""

    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class TokenizedSplit:
    """N token rows of different lengths in flat arrays.

    Attributes:
        ids: int32, all rows, in any order.
        starts: int64, (N); row i is `ids[starts[i]:starts[i] + lengths[i]]`.
        lengths: int32, (N); tokens of row i.
        prompt_lengths: int32, (N); tokens at the start of row i without loss.
        truncated: number of rows cut to fit.
    """

    ids: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    prompt_lengths: npt.NDArray[np.int32]
    truncated: int

    def __len__(self) -> int:
        return len(self.prompt_lengths)

    def row(self, index: int) -> tuple[npt.NDArray[np.int32], int]:
        """The ids of one row (a view), and how many of them at its start carry no loss."""
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
) -> TokenizedSplit:
    """Rows of prompt, completion and end of sequence, for training and validation loss.

    A row longer than `max_length` loses the beginning of its prompt. If the completion alone
    is too long, one token of the prompt stays and the completion's end is cut.

    Args:
        examples: become one row each, in their order.
        tokenizer: the base's.
        max_length: tokens of a whole row.
        loss_on: with "answer" the prompt carries no loss; with "all" every token does, and
            `prompt_lengths` is 0.
        ends: whether end of sequence follows the completion.

    Raises:
        BaseModelError: when the tokenizer has no end-of-sequence token.
        ConfigError: when `max_length` has no room for one token each of prompt and completion.
    """
    answers = encode([example.completion for example in examples], tokenizer)
    return _joined(
        examples, ((each,) for each in answers), tokenizer, max_length, loss_on, ends=ends
    )


def tokenize_pairs(
    examples: Sequence[Example], tokenizer: Tokenizer, max_length: int
) -> TokenizedSplit:
    """Two rows for every example, its completion's and then its rejected one's, as of `tokenize`.

    Both rows have the same prompt, cut for the longer answer: they differ in the answer alone.

    Raises:
        BaseModelError, ConfigError: as `tokenize`.
    """
    texts = [text for each in examples for text in (each.completion, each.rejected)]
    answers = encode(texts, tokenizer)
    pairs = zip(answers, answers, strict=True)
    return _joined(examples, pairs, tokenizer, max_length, "answer", ends=True)


def _joined(
    examples: Sequence[Example],
    answers: Iterable[Sequence[list[int]]],
    tokenizer: Tokenizer,
    max_length: int,
    loss_on: Literal["answer", "all"],
    *,
    ends: bool,
) -> TokenizedSplit:
    """A row for each answer of every example, all of an example's with the same prompt."""
    eos = require_eos(tokenizer)
    around = affixes(tokenizer)
    room = _room("max_length", max_length, len(around.before), 2)
    prompts = encode([example.prompt for example in examples], tokenizer)
    ids, lengths, prompt_lengths, truncated = array("i"), [], [], 0
    for example, prompt, its in zip(examples, prompts, answers, strict=True):
        start = _start(example, around)
        whole = [[*answer, *_ending(example, answer, around, eos, ends)] for answer in its]
        kept = [answer[: room - min(1, len(prompt))] for answer in whole]
        kept_prompt = _end(prompt, room - max(map(len, kept)))
        for answer in kept:
            ids.extend([*start, *kept_prompt, *answer])
            lengths.append(len(start) + len(kept_prompt) + len(answer))
            prompt_lengths.append(len(start) + len(kept_prompt) if loss_on == "answer" else 0)
        truncated += sum(len(prompt) + len(answer) > room for answer in whole)
    return _rows(ids, lengths, prompt_lengths, truncated)


def tokenize_prompts(
    examples: Sequence[Example], tokenizer: Tokenizer, max_prompt_length: int
) -> TokenizedSplit:
    """Rows of the prompt alone, for generation; the ids are those of `tokenize`.

    A prompt longer than `max_prompt_length` loses its beginning. `prompt_lengths` equals `lengths`.

    Raises:
        ConfigError: when `max_prompt_length` has no room for one token of the prompt.
    """
    around = affixes(tokenizer)
    room = _room("max_prompt_length", max_prompt_length, len(around.before), 1)
    ids, lengths, truncated = array("i"), [], 0
    prompts = encode([example.prompt for example in examples], tokenizer)
    for example, prompt in zip(examples, prompts, strict=True):
        start, kept = _start(example, around), _end(prompt, room)
        truncated += len(kept) < len(prompt)
        ids.extend([*start, *kept])
        lengths.append(len(start) + len(kept))
    return _rows(ids, lengths, lengths, truncated)


def tokenize_choices(
    examples: Sequence[Example], tokenizer: Tokenizer, max_length: int
) -> TokenizedSplit:
    """One row for every choice of every example, in order, without end of sequence.

    Raises:
        BaseModelError, ConfigError: as `tokenize`.
    """
    choices = [replace(each, completion=text) for each in examples for text in each.choices]
    return tokenize(choices, tokenizer, max_length, "answer", ends=False)


def longest_choice(examples: Sequence[Example], tokenizer: Tokenizer) -> int:
    """Tokens of the longest choice; 0 if there are none."""
    texts = sorted({choice for example in examples for choice in example.choices})
    return max(map(len, encode(texts, tokenizer)), default=0)


def affixes(tokenizer: Tokenizer) -> Affixes:
    """The tokens that the tokenizer puts around a text, found by tokenising some texts.

    Raises:
        BaseModelError: when they depend on the text.
    """
    bare = list(encode(list(_PROBES), tokenizer))
    whole = tokenizer(list(_PROBES), add_special_tokens=True, verbose=False)["input_ids"]
    found: set[Affixes] | None = None
    for inner, outer in zip(bare, whole, strict=True):
        possible = {
            Affixes(tuple(outer[:start]), tuple(outer[start + len(inner) :]))
            for start in range(len(outer) - len(inner) + 1)
            if outer[start : start + len(inner)] == inner
        }
        found = possible if found is None else found & possible
    if not found:
        raise BaseModelError(
            "the base's tokenizer puts tokens around a text that depend on the text: it makes "
            f"{whole} of {list(_PROBES)} and {bare} without special tokens; wanted the same ids "
            "between the same special ones"
        )
    # Ambiguous only if no probe has a token of its own: then all affixes count as before.
    return max(found, key=lambda around: len(around.before))


def ending(around: Affixes, eos: int) -> tuple[int, ...]:
    """The ids that end a training row: the tokenizer's own suffix, and end of sequence."""
    return around.after if around.after[-1:] == (eos,) else (*around.after, eos)


def _start(example: Example, around: Affixes) -> tuple[int, ...]:
    return () if example.is_rendered else around.before


def _ending(
    example: Example, answer: list[int], around: Affixes, eos: int, ends: bool
) -> tuple[int, ...]:
    if not ends or (example.is_rendered and answer[-1:] == [eos]):
        return ()
    return (eos,) if example.is_rendered else ending(around, eos)


def require_eos(tokenizer: Tokenizer) -> int:
    """The id of the end-of-sequence token.

    Raises:
        BaseModelError: when the tokenizer has none.
    """
    if tokenizer.eos_token_id is None:
        raise BaseModelError(
            "the base's tokenizer has no end-of-sequence token; set eos_token in its "
            "tokenizer_config.json"
        )
    return tokenizer.eos_token_id


def encode(texts: list[str], tokenizer: Tokenizer) -> Iterator[list[int]]:
    """The ids of each text, without affixes."""
    for start in range(0, len(texts), _CHUNK):
        chunk = texts[start : start + _CHUNK]
        yield from tokenizer(chunk, add_special_tokens=False, verbose=False)["input_ids"]


def _room(name: str, limit: int, start: int, least: int) -> int:
    if limit < start + least:
        raise ConfigError(f"{name} must be at least {start + least} for this base, found {limit}")
    return limit - start


def _end(ids: list[int], size: int) -> list[int]:
    return ids[max(0, len(ids) - size) :]


def _rows(
    ids: "array[int]", lengths: list[int], prompt_lengths: list[int], truncated: int
) -> TokenizedSplit:
    ends = np.cumsum(lengths, dtype=np.int64)
    return TokenizedSplit(
        ids=np.array(ids, dtype=np.int32),
        starts=ends - np.array(lengths, dtype=np.int64),
        lengths=np.array(lengths, dtype=np.int32),
        prompt_lengths=np.array(prompt_lengths, dtype=np.int32),
        truncated=truncated,
    )
