"""How much of a test set was trained on: the same prompts, and prompts made of the same words.

Invariant: what all prompts share at their beginning and end, the template, counts for nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from perft.tasks.splits import normalized
from perft.tasks.task import Task

WORDS = 8
"""Length of an n-gram; a shorter prompt is one n-gram as a whole."""

SHARE = 0.8
"""A test example counts as seen when so much of its n-grams occur in training prompts.

After the contamination analysis of Llama 2 (Touvron et al. 2023, A.6), which calls an example with
80% of its tokens in such n-grams dirty.
"""

Gram = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """What of a test split also occurs in the training data.

    Attributes:
        same: examples whose whole prompt does, but for case and whitespace.
        seen: examples of whose n-grams most do, those included.
        examples: examples in all.
    """

    same: int
    seen: int
    examples: int


def overlap(task: Task) -> dict[str, Overlap]:
    """The overlap of each test split, by name.

    The training data is `train` and `validation` together: a choice made on a test example leaks
    it as well.
    """
    trained = [normalized(e.prompt) for s in (task.train, task.validation) for e in s.examples]
    tested = {test.name: [normalized(e.prompt) for e in test.examples] for test in task.tests}
    every = [prompt.split() for prompts in (trained, *tested.values()) for prompt in prompts]
    start, end = _shared(every), _shared([words[::-1] for words in every])
    grams = {
        name: [list(_grams(_inner(prompt, start, end))) for prompt in prompts]
        for name, prompts in tested.items()
    }
    known = _known(grams, trained, start, end)
    whole = set(trained)
    return {
        name: Overlap(
            same=sum(prompt in whole for prompt in prompts),
            seen=sum(
                prompt in whole or sum(gram in known for gram in of) >= SHARE * len(of)
                for prompt, of in zip(prompts, grams[name], strict=True)
            ),
            examples=len(prompts),
        )
        for name, prompts in tested.items()
    }


def _known(
    tested: dict[str, list[list[Gram]]], trained: Sequence[str], start: int, end: int
) -> set[Gram]:
    """The n-grams of tests that training prompts have; only those of tests are ever held."""
    wanted = {gram for prompts in tested.values() for grams in prompts for gram in grams}
    known: set[Gram] = set()
    for prompt in trained:
        known |= wanted.intersection(_grams(_inner(prompt, start, end)))
    return known


def _inner(prompt: str, start: int, end: int) -> list[str]:
    words = prompt.split()
    return words[start : len(words) - end] or words


def _grams(words: list[str]) -> Iterator[Gram]:
    for at in range(max(1, len(words) - WORDS + 1)):
        yield tuple(words[at : at + WORDS])


def _shared(prompts: Sequence[list[str]]) -> int:
    """How many words all prompts begin with."""
    columns = zip(*prompts, strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
