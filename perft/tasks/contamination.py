"""Measures train-test contamination: equal prompts, and prompts that share n-grams.

Invariant: the template, which all prompts share at their beginning and end, does not count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from perft.tasks.splits import normalized
from perft.tasks.task import Task

WORDS = 8
"""Length of an n-gram; a shorter prompt is one n-gram as a whole."""

SHARE = 0.8
"""A test example counts as seen if this share of its n-grams occurs in training prompts.

After the contamination analysis of Llama 2 (Touvron et al. 2023, A.6), which calls an example with
80% of its tokens in such n-grams dirty.
"""

Gram = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Examples of a test split that also occur in the training data.

    Attributes:
        same: those whose whole prompt does, up to case and whitespace.
        seen: those of whose n-grams most do, and those of `same`.
        examples: examples in all.
    """

    same: int
    seen: int
    examples: int


def overlap(task: Task) -> dict[str, Overlap]:
    """The overlap of each test split, by name.

    The training data is `train` and `validation` together: choosing on a test example leaks it as
    well.
    """
    trained = [normalized(e.prompt) for s in (task.train, task.validation) for e in s.examples]
    tested = {test.name: [normalized(e.prompt) for e in test.examples] for test in task.tests}
    every = [prompt.split() for prompts in (trained, *tested.values()) for prompt in prompts]
    start, end = _shared(every), _shared([words[::-1] for words in every])
    grams = {
        name: [list(_grams(_without_template(prompt, start, end))) for prompt in prompts]
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
    """The n-grams of tests that training prompts have; no others are held in memory."""
    wanted = {gram for prompts in tested.values() for grams in prompts for gram in grams}
    known: set[Gram] = set()
    for prompt in trained:
        known |= wanted.intersection(_grams(_without_template(prompt, start, end)))
    return known


def _without_template(prompt: str, start: int, end: int) -> list[str]:
    words = prompt.split()
    return words[start : len(words) - end] or words


def _grams(words: list[str]) -> Iterator[Gram]:
    for at in range(max(1, len(words) - WORDS + 1)):
        yield tuple(words[at : at + WORDS])


def _shared(prompts: Sequence[list[str]]) -> int:
    """Number of words with which all prompts begin."""
    columns = zip(*prompts, strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
