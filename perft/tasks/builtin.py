"""What the built-in tasks share: generated examples, in splits that ask about different things.

One example of each is in `word_problems` and in `world_questions`.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from random import Random

from perft.errors import ConfigError
from perft.tasks.task import Example, Scorer, Split, Task

TRAIN_SIZE = 4000
TEST_SIZE = 1000
LARGEST_VALIDATION = 10_000
"""Most validation examples: every built-in task draws as many different ones in seconds."""

_TEST_SEED = 0  # the test split is the same for every seed, so that test scores compare
_SHARES = {"train": 7, "validation": 1, "test": 2}  # tenths of all that can be asked about

Examples = Callable[[str, Random], Iterator[Example]]
"""Endless examples of a split, drawn from a generator; prompts may repeat."""


def builtin_task(
    name: str, examples: Examples, scorer: Scorer, validation_size: int, seed: int
) -> Task:
    """A task of 4,000 training and 1,000 test examples.

    Args:
        name: the task's.
        examples: draws them.
        scorer: that of every split.
        validation_size: examples in the validation split.
        seed: seeds train and validation; the test split is always the same.

    Raises:
        ConfigError: if the task has fewer validation examples.
    """
    if validation_size > LARGEST_VALIDATION:
        raise ConfigError(
            f"the built-in task {name} has {LARGEST_VALIDATION:,} validation examples, found "
            f"--validation-size {validation_size}; ask for that many at most"
        )

    def split(which: str, size: int, seed: int) -> Split:
        rng = Random(f"{which} {seed}")
        found: dict[str, Example] = {}
        for example in examples(which, rng):
            found.setdefault(example.prompt, example)
            if len(found) == size:
                break
        return Split(which, tuple(found.values()), scorer)

    return Task(
        name=name,
        train=split("train", TRAIN_SIZE, seed),
        validation=split("validation", validation_size, seed),
        tests=(split("test", TEST_SIZE, _TEST_SEED),),
    )


def split_of(things: Iterable[int] | Iterable[str]) -> str:
    """The one split that may ask about these things together, in any order."""
    tenth = zlib.crc32(repr(sorted(things)).encode()) % 10
    for name, share in _SHARES.items():
        tenth -= share
        if tenth < 0:
            return name
    raise AssertionError("the shares do not add up to ten")
