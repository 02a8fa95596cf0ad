"""Published benchmarks: groups of test sets that share training data, from files or from the hub.

Invariant: a label that its rule can never match is refused when the data are read, and every test
set is scored by the same rules wherever its rows come from.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from perft.errors import ConfigError, DataError
from perft.tasks import llm_adapters
from perft.tasks.hub import HUB, HubDataset, benchmark_rows
from perft.tasks.rows import DataRow, read_rows
from perft.tasks.splits import hold_out
from perft.tasks.task import Example, Scorer, Split, Task, TaskSource


@dataclass(frozen=True)
class Labels:
    """The labels that rows may have.

    Attributes:
        wanted: description for errors, such as "a number".
        accepts: whether a text is one of them.
    """

    wanted: str
    accepts: Callable[[str], bool]

    def of(self, row: DataRow) -> str:
        """The row's label.

        Raises:
            DataError: when it is absent or none of these.
        """
        answer = row.label("answer")
        if not self.accepts(answer):
            raise DataError(f"{row.where} has the answer {answer!r}; wanted {self.wanted}")
        return answer


@dataclass(frozen=True)
class Benchmark:
    """One test set: its folder's name, its labels, its scorer, and its dataset on the hub."""

    name: str
    labels: Labels
    scorer: Scorer
    hub: HubDataset | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Test sets that share their training data.

    Attributes:
        name: the group's name.
        mixtures: training files of the whole group, without ".json", the preferred first. If none
            is there, the group trains on its benchmarks' own files.
        train_labels: labels of training rows, of all benchmarks.
        validation: labels and scorer of the held-out rows; a row whose label it does not accept
            stays in training.
        benchmarks: the test sets.
        example: turns a row and its checked label into an example.
    """

    name: str
    mixtures: tuple[str, ...]
    train_labels: Labels
    validation: Benchmark
    benchmarks: tuple[Benchmark, ...]
    example: Callable[[DataRow, str], Example]

    def read(self, rows: Iterable[DataRow], labels: Labels) -> tuple[Example, ...]:
        """Every row as an example.

        Raises:
            DataError: when one of them is unusable.
        """
        return tuple(self.example(row, labels.of(row)) for row in rows)


def load(group: Group, source: TaskSource) -> Task:
    """Loads training data, hold-out and tests of a group or of one of its benchmarks.

    Args:
        group: the group that `source.name` names, or whose benchmark it names (in any case).
        source: `data` is a directory in the LLM-Adapters layout, a directory with copies of the
            hub's datasets by id, or "hub". A group gets every test set found, a benchmark its
            own, which must be there.

    Raises:
        ConfigError: when the hub does not have the benchmark.
        DataError: for a missing directory or file, or an unusable row.
    """
    assert source.data is not None
    name = source.name.lower()
    single = tuple(benchmark for benchmark in group.benchmarks if benchmark.name.lower() == name)
    chosen = single or group.benchmarks
    if source.data == HUB or _is_mirror(Path(source.data), group):
        training, tests = _from_hub(group, chosen, source.data)
    else:
        training, tests = _from_files(group, chosen, Path(source.data))
    validation = single[0] if single and _any_for(single[0], training) else group.validation
    train, held = _hold_out(group, training, validation, source)
    return Task(
        name=name,
        train=Split("train", train, validation.scorer),
        validation=Split("validation", held, validation.scorer),
        tests=tests,
    )


def _from_files(
    group: Group, chosen: tuple[Benchmark, ...], data: Path
) -> tuple[list[DataRow], tuple[Split, ...]]:
    alone = chosen[0].name if len(chosen) == 1 else None
    names = [benchmark.name for benchmark in group.benchmarks]
    paths = llm_adapters.find_training(data, group.mixtures, names, alone)
    training = [row for path in paths for row in read_rows(path)]
    found = llm_adapters.find_tests(data, [benchmark.name for benchmark in chosen])
    tests = tuple(
        _test(group, benchmark, read_rows(found[benchmark.name]))
        for benchmark in chosen
        if benchmark.name in found
    )
    return training, tests


def _is_mirror(data: Path, group: Group) -> bool:
    return any((data / each.hub.id).is_dir() for each in group.benchmarks if each.hub)


def _from_hub(
    group: Group, chosen: tuple[Benchmark, ...], data: str
) -> tuple[list[DataRow], tuple[Split, ...]]:
    root = None if data == HUB else Path(data)
    there = [
        (benchmark, benchmark.hub)
        for benchmark in chosen
        if benchmark.hub and (root is None or (root / benchmark.hub.id).is_dir())
    ]
    if not there:
        raise ConfigError(
            f"{chosen[0].name} has no dataset {f'in {root}' if root else 'on the hub'}; name a "
            "directory in the LLM-Adapters layout with --data"
        )
    trained = [hub for _, hub in there if hub.train]
    # A benchmark without training rows takes the group's.
    trained = trained or [each.hub for each in group.benchmarks if each.hub and each.hub.train][:1]
    training = [row for hub in trained for row in benchmark_rows(hub, root, hub.train or "")]
    tests = tuple(_test(group, each, benchmark_rows(hub, root, hub.test)) for each, hub in there)
    return training, tests


def _test(group: Group, benchmark: Benchmark, rows: list[DataRow]) -> Split:
    return Split(benchmark.name, group.read(rows, benchmark.labels), benchmark.scorer)


def _any_for(benchmark: Benchmark, rows: list[DataRow]) -> bool:
    """Whether a training row has one of the benchmark's labels; rows of others train it, too."""
    return any(benchmark.labels.accepts(row.label("answer")) for row in rows)


def _hold_out(
    group: Group, rows: list[DataRow], validation: Benchmark, source: TaskSource
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    train, held = hold_out(
        group.read(rows, group.train_labels),
        source.validation_size,
        source.seed,
        lambda example: validation.labels.accepts(example.answer),
    )
    if not held:
        file = rows[0].where.rpartition(", row ")[0]
        raise DataError(
            f"{file} has too few rows to hold out a fifth for validation: wanted at least 5 with "
            f"different instructions, each with {validation.labels.wanted} as answer"
        )
    return train, held
