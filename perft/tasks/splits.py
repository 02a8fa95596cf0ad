"""Holds out training examples for validation.

Invariant: examples whose prompts are equal up to case and whitespace are never on both sides of a
hold-out.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence

from perft.tasks.task import Example

_LARGEST_SHARE = 5  # at most one eligible example in five is held out


def hold_out(
    examples: Sequence[Example], size: int, seed: int, eligible: Callable[[Example], bool]
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Splits `examples` into a training set, in order, and a shuffled validation set.

    The shuffle orders the prompts by a hash of seed and prompt, so it depends neither on the order
    of the file nor on a library version, and any prefix of the result is a fair sample.

    Args:
        examples: the rows of a training file.
        size: how many to hold out, at most a fifth of the eligible ones.
        seed: determines the choice.
        eligible: whether validation can score the example.
    """
    same: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        same[normalized(example.prompt)].append(index)
    limit = min(size, sum(map(eligible, examples)) // _LARGEST_SHARE)
    held: list[int] = []
    for prompt in sorted(same, key=lambda prompt: _rank(seed, prompt)):
        rows = same[prompt]
        if len(held) + len(rows) <= limit and all(eligible(examples[row]) for row in rows):
            held += rows
    held_set = set(held)
    rest = tuple(example for row, example in enumerate(examples) if row not in held_set)
    return rest, tuple(examples[row] for row in held)


def normalized(prompt: str) -> str:
    """The prompt without case and repeated whitespace."""
    return " ".join(prompt.casefold().split())


def _rank(seed: int, prompt: str) -> bytes:
    return hashlib.sha256(f"{seed} {prompt}".encode()).digest()
