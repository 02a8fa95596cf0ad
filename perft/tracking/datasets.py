"""The splits of a search's task as its records name them: name, digest and source, no data."""

import hashlib
from dataclasses import dataclass

from perft.masking import masked
from perft.tasks import Split, Task, TaskSource, root_of
from perft.tasks.hub import HUB

TRAIN, VALIDATION, TEST = "train", "validation", "test"
DIGEST_CHARACTERS = 32
"""Of SHA-256 in hexadecimal; MLflow takes 36."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One split of a search's task.

    Attributes:
        name: the task's and the split's.
        context: "train", "validation" or "test".
        digest: of every example, in hexadecimal.
        rows: number of examples.
        place: the folder or the hub that it was read from; empty for a built-in task.
        task: name of the task.
    """

    name: str
    context: str
    digest: str
    rows: int
    place: str
    task: str


def datasets_of(task: Task, source: TaskSource) -> tuple[Dataset, ...]:
    """The splits of a loaded task, in the order of `Task.splits`."""
    root = root_of(source)
    place = HUB if source.data == HUB else masked(str(root)) if root else ""
    contexts = (TRAIN, VALIDATION, *(TEST for _ in task.tests))
    return tuple(
        Dataset(
            name=f"{task.name}/{split.name}",
            context=context,
            digest=_digest(split),
            rows=len(split.examples),
            place=place,
            task=task.name,
        )
        for context, split in zip(contexts, task.splits, strict=True)
    )


def _digest(split: Split) -> str:
    return hashlib.sha256(split.content).hexdigest()[:DIGEST_CHARACTERS]
