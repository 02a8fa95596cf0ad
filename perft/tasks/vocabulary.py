"""Checks that a base has an embedding for every token of a task, before training."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from perft.errors import BaseModelError, DataError
from perft.tasks.task import Example, Split
from perft.tasks.tokenize import Tokenizer, affixes, encode, ending, require_eos

_EXCERPT = 60


class NamedTokenizer(Tokenizer, Protocol):
    """The part of a Hugging Face tokenizer that is used here."""

    def get_vocab(self) -> Mapping[str, int]:
        """Ids by token, added tokens included."""

    def convert_ids_to_tokens(self, ids: int) -> str | None:
        """The token of an id."""


def require_embeddings(splits: Iterable[Split], tokenizer: NamedTokenizer, embeddings: int) -> None:
    """Checks that the base knows every token of these splits' rows.

    Costs nothing if all of the tokenizer's ids are below `embeddings`; else tokenises all texts.

    Args:
        splits: the task's.
        tokenizer: the base's.
        embeddings: number of ids that the base knows, from 0 on.

    Raises:
        BaseModelError: if the tokenizer has no end of sequence, or puts tokens around every text
            that the base does not know.
        DataError: naming the first text with such a token.
    """
    eos = require_eos(tokenizer)
    around = affixes(tokenizer)
    if max(tokenizer.get_vocab().values(), default=0) < embeddings:
        return
    for id in (*around.before, *ending(around, eos)):
        if id >= embeddings:
            raise BaseModelError(
                f"the base's tokenizer puts {_named(id, tokenizer)} around every text, and "
                f"{_known(embeddings)}; tokenizer and base do not belong together"
            )
    for split in splits:
        texts = list(_texts(split))
        all_ids = encode([text for _, _, text in texts], tokenizer)
        for (where, part, text), ids in zip(texts, all_ids, strict=True):
            if ids and max(ids) >= embeddings:
                raise DataError(
                    f"{where} has {_named(max(ids), tokenizer)} in its {part} {_excerpt(text)!r}, "
                    f"and {_known(embeddings)}; leave such texts out, or use a base whose "
                    "embeddings are as many as its tokenizer's tokens"
                )


def _texts(split: Split) -> Iterator[tuple[str, str, str]]:
    """Each text with its position and the part of its example that it is."""
    for number, example in enumerate(split.examples, start=1):
        where = example.where or f"example {number} of the split {split.name!r}"
        for part, text in _parts(example):
            yield where, part, text


def _parts(example: Example) -> Iterator[tuple[str, str]]:
    yield "prompt", example.prompt
    yield "completion", example.completion
    yield from (("rejected answer", rejected) for rejected in example.pair[1:])
    yield from (("choice", choice) for choice in example.choices if choice != example.completion)


def _named(id: int, tokenizer: NamedTokenizer) -> str:
    return f"the token {tokenizer.convert_ids_to_tokens(id)!r} of id {id}"


def _known(embeddings: int) -> str:
    return f"the base has embeddings for ids up to {embeddings - 1} only"


def _excerpt(text: str) -> str:
    return text if len(text) <= _EXCERPT else f"{text[:_EXCERPT]}..."
