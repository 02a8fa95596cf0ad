"""Tasks: the data that adapters are trained and scored on.

Invariant: the same `TaskSource` gives the same `Task` in every process, and nothing here imports
torch.
"""

from pathlib import Path

from perft.errors import ConfigError, unknown
from perft.tasks import (
    arithmetic,
    benchmarks,
    commonsense,
    own_examples,
    preferences,
    word_problems,
    world_questions,
)
from perft.tasks.contamination import Overlap, overlap
from perft.tasks.hub import HUB
from perft.tasks.own import FILES, OwnTask, path_and_rest
from perft.tasks.record import code_files, code_of, from_record, root_of, to_record, without_code
from perft.tasks.task import Example, Scorer, Split, Task, TaskSource

__all__ = [
    "TASKS",
    "Example",
    "Overlap",
    "OwnTask",
    "Scorer",
    "Split",
    "Task",
    "TaskSource",
    "check_source",
    "code_files",
    "code_of",
    "dataset_ids",
    "from_record",
    "load_task",
    "load_test",
    "overlap",
    "root_of",
    "to_record",
    "without_code",
]

GROUPS = (arithmetic.GROUP, commonsense.GROUP)
_GROUP_OF = {
    name.lower(): group
    for group in GROUPS
    for name in (group.name, *(benchmark.name for benchmark in group.benchmarks))
}
_BUILTIN = {
    arithmetic.GROUP.name: word_problems.arithmetic,
    commonsense.GROUP.name: world_questions.commonsense,
    "preferences": preferences.preferences,
}
TASKS: tuple[str, ...] = tuple(dict.fromkeys((*_GROUP_OF, *_BUILTIN)))
"""Every name that `load_task` knows, in lower case; a source may spell it in any case."""


def load_task(source: TaskSource) -> Task:
    """Loads the task that `source` describes.

    Raises:
        ConfigError: for an unknown task, a task that is not built-in without a data directory,
            code that is not trusted, or a validation size beyond the task's.
        DataError: when the data directory lacks the expected files, or a row is unusable.
    """
    if source.validation_size < 1:
        raise ConfigError(f"validation_size must be at least 1, found {source.validation_size}")
    if source.own is not None:
        return own_examples.load(
            OwnTask.from_json(source.own, trust_code=source.trust_code), source
        )
    name = source.name.lower()
    if name not in TASKS:
        raise ConfigError(unknown("task", source.name, TASKS))
    if source.data is not None and name in _GROUP_OF:
        return benchmarks.load(_GROUP_OF[name], source)
    if source.data is not None:
        raise ConfigError(
            f"task {source.name!r} is made up and has no data, found --data {source.data}; leave "
            "it out, or declare a task of your own in a search space (docs/tasks.md)"
        )
    if name not in _BUILTIN:
        raise ConfigError(
            f"task {source.name!r} needs a data directory, found none; name one with --data, or "
            f"use a built-in task: {', '.join(_BUILTIN)}"
        )
    return _BUILTIN[name](source.validation_size, source.seed)


def load_test(source: TaskSource) -> Split:
    """The test split of a user's own task, whose training data need not be there.

    Raises:
        ConfigError: as `load_task`.
        DataError: as `load_task`.
    """
    assert source.own is not None, "only a user's own task has a file of its own"
    return own_examples.load_test(OwnTask.from_json(source.own, trust_code=source.trust_code))


def dataset_ids(source: TaskSource) -> tuple[str, ...]:
    """Ids on the hub of the datasets that a task reads there, without doubles."""
    if source.own is not None:
        places = [str(source.own[name]) for name in ("train", "test") if source.own.get(name)]
        found = [path_and_rest(place)[0] for place in places if not place.endswith(FILES)]
        return tuple(dict.fromkeys(id for id in found if not Path(id).exists()))
    group = _GROUP_OF.get(source.name.lower())
    if source.data != HUB or group is None:
        return ()
    wanted = source.name.lower()
    return tuple(
        dict.fromkeys(
            each.hub.id
            for each in group.benchmarks
            if each.hub and wanted in (group.name, each.name.lower())
        )
    )


def check_source(source: TaskSource) -> None:
    """Reads every file and row of `source` once, so that a mistake shows before a worker starts.

    Raises:
        ConfigError: as `load_task`.
        DataError: as `load_task`.
    """
    load_task(source)
