"""A task: examples in three splits, and how an output is scored.

A `TaskSource` is the small description that crosses processes; `perft.tasks.load_task` turns it
into a `Task`. The search trains on `train` and chooses on `validation`; `tests` are scored once,
for chosen adapters.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Example:
    """One example as text: the base reads `prompt` and should write `completion`.

    Attributes:
        prompt: everything before the answer, template included.
        completion: the text to train on; tokenisation adds end of sequence.
        answer: the label that an extracted answer is compared with.
        choices: the completions that likelihood compares, with the right one; empty where there
            are none.
        where: its file or dataset and row, for messages; empty for a generated example.
        rejected: the completion that `completion` is preferred to; empty where there is no pair.
        is_rendered: whether the texts have their special tokens, as a chat template writes them;
            tokenisation then adds none, but end of sequence where a completion ends without it.
    """

    prompt: str
    completion: str
    answer: str
    choices: tuple[str, ...] = ()
    where: str = field(default="", compare=False, repr=False)
    rejected: str = ""
    is_rendered: bool = False

    @property
    def pair(self) -> tuple[str, ...]:
        """The preferred completion and the rejected one; without a pair the completion alone."""
        return (self.completion, self.rejected) if self.rejected else (self.completion,)


@dataclass(frozen=True)
class Scorer:
    """How an adapter's answers are judged: as it writes them, or as it prefers one of a pair.

    Attributes:
        protocol: name of the rules, so that scores of different rules are never compared.
        max_new_tokens: limit of greedy generation; 0 where nothing is generated.
        extract: finds the answer in a completion; returns None when there is none.
        matches: whether an extracted answer agrees with a label, as `matches(extracted, label)`.
        compares_pairs: whether the preferred answer of each pair is judged, and nothing generated.
    """

    protocol: str
    max_new_tokens: int
    extract: Callable[[str], str | None]
    matches: Callable[[str, str], bool]
    compares_pairs: bool = False

    @property
    def generates(self) -> bool:
        """Whether answers are generated."""
        return self.max_new_tokens > 0

    @property
    def has_accuracy(self) -> bool:
        """Whether there is an accuracy; without one, only the loss counts."""
        return self.generates or self.compares_pairs

    def is_correct(self, completion: str, label: str) -> bool:
        """Whether `completion` holds the right answer; an absent answer is wrong."""
        extracted = self.extract(completion)
        return extracted is not None and self.matches(extracted, label)


@dataclass(frozen=True)
class Split:
    """Named examples with the scorer that judges them."""

    name: str
    examples: tuple[Example, ...]
    scorer: Scorer

    @property
    def has_pairs(self) -> bool:
        """Whether every example has an answer that its completion is preferred to."""
        return all(example.rejected for example in self.examples)

    @property
    def content(self) -> bytes:
        """Name, scoring protocol and every example, as the fingerprint of a task reads them."""
        rows = [
            [e.prompt, e.completion, e.answer, *e.choices, *e.pair[1:], *[True] * e.is_rendered]
            for e in self.examples
        ]
        return json.dumps([self.name, self.scorer.protocol, rows]).encode()


@dataclass(frozen=True)
class Task:
    """A task with its data, loaded."""

    name: str
    train: Split
    validation: Split
    tests: tuple[Split, ...]

    @property
    def splits(self) -> tuple[Split, ...]:
        """All splits."""
        return self.train, self.validation, *self.tests

    @property
    def has_pairs(self) -> bool:
        """Whether all splits have pairs of answers."""
        return all(split.has_pairs for split in self.splits)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every example of every split, in hexadecimal."""
        digest = hashlib.sha256()
        for split in self.splits:
            digest.update(split.content)
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class TaskSource:
    """Where a task comes from: enough to load the same task in every process.

    Attributes:
        name: a task or group of tasks, such as "arithmetic" or "addsub".
        data: a directory in the LLM-Adapters layout, a directory with copies of the hub's datasets
            by id, or "hub"; None means the built-in task.
        validation_size: examples of the validation split (held out of the training file where
            the data has no validation split of its own).
        seed: seeds the hold-out.
        own: a user's own task as `OwnTask.to_json` wrote it; None for a known one.
        trust_code: whether its scorer's function may be run; never read from a file.
    """

    name: str
    data: str | None = None
    validation_size: int = 400
    seed: int = 0
    own: Mapping[str, Any] | None = None
    trust_code: bool = False
