"""Reads data directories in the LLM-Adapters layout (Hu et al. 2023).

Two spellings of the layout are known: `ft-training_set/<name>.json` with
`dataset/<task>/test.json` (upstream), and `train/<name>.json` with `eval/<task>/test.json`. Every
file is one JSON array of `{"instruction", "input", "output", "answer"}`.

Invariant: either every row of a file becomes an example, or a DataError names the file and the
row, counted from 1.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perft.errors import DataError
from perft.tasks.prompts import alpaca
from perft.tasks.splits import hold_out
from perft.tasks.task import Example, Scorer, Split, Task, TaskSource

_TRAIN = ("ft-training_set/{}.json", "train/{}.json")
_TEST = ("dataset/{}/test.json", "eval/{}/test.json")
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHAPE = 'one JSON array of {"instruction", "input", "output", "answer"} in UTF-8'


@dataclass(frozen=True)
class Labels:
    """Which labels a file may hold.

    Attributes:
        wanted: says it in an error, as in "a number".
        accepts: whether a label, as text, is one of them.
    """

    wanted: str
    accepts: Callable[[str], bool]


@dataclass(frozen=True)
class Benchmark:
    """One test set: the name of its folder, its labels and how it is scored."""

    name: str
    labels: Labels
    scorer: Scorer


@dataclass(frozen=True)
class Group:
    """Test sets that share their training data.

    Attributes:
        name: the group's name.
        train_names: training files without ".json", the preferred first.
        train_labels: what their rows may be labelled with, over all benchmarks.
        validation: names, admits and scores the held-out rows; a row whose label it does not
            accept stays in training.
        benchmarks: the test sets.
    """

    name: str
    train_names: tuple[str, ...]
    train_labels: Labels
    validation: Benchmark
    benchmarks: tuple[Benchmark, ...]


def load(group: Group, source: TaskSource) -> Task:
    """Loads training data, hold-out and tests of a group or of one of its benchmarks.

    Args:
        group: the group that `source.name` names, or whose benchmark it names (in any case).
        source: `data` is the directory. A group gets every test set that is there, a benchmark
            its own, which must be there.

    Raises:
        DataError: for a missing directory or file, or a row that cannot be used.
    """
    assert source.data is not None
    data, name = Path(source.data), source.name.lower()
    if not data.is_dir():
        raise DataError(f"{data} is not a directory; --data takes one in the LLM-Adapters layout")
    single = tuple(benchmark for benchmark in group.benchmarks if benchmark.name.lower() == name)
    validation = single[0] if single else group.validation
    path = _train_path(data, group.train_names)
    train, held = _split(path, group.train_labels, validation, source)
    return Task(
        name=name,
        train=Split("train", train, validation.scorer),
        validation=Split("validation", held, validation.scorer),
        tests=_tests(data, single or group.benchmarks),
    )


def read_examples(path: Path, labels: Labels) -> tuple[Example, ...]:
    """Reads one file; the prompt is `prompts.alpaca`, the completion the row's `output`, stripped.

    A row whose `output` is blank or absent (a few published ones are) teaches
    "The answer is <answer>.". Numbers as answers become text.

    Raises:
        DataError: when the file or one of its rows cannot be used.
    """
    try:
        # Bytes that are not UTF-8 become lone surrogates here, so that their row can be named.
        rows = json.loads(path.read_bytes().decode("utf-8-sig", errors="surrogateescape"))
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON in UTF-8 ({error}); wanted {_SHAPE}") from error
    if not isinstance(rows, list) or not rows:
        found = "an empty array" if rows == [] else _type(rows)
        raise DataError(f"{path} holds {found}; wanted {_SHAPE}")
    return tuple(
        _example(row, labels, f"{path}, row {number}") for number, row in enumerate(rows, start=1)
    )


def _find(data: Path, patterns: tuple[str, ...], name: str) -> Path | None:
    """The file of this name in either spelling of the layout, upstream's first."""
    paths = [data / pattern.format(name) for pattern in patterns]
    return next((path for path in paths if path.is_file()), None)


def _missing(kind: str, data: Path, patterns: tuple[str, ...], names: list[str]) -> DataError:
    looked = ", ".join(pattern.format(name) for name in names for pattern in patterns)
    return DataError(f"{data} has no {kind} file of the LLM-Adapters layout; looked for {looked}")


def _train_path(data: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if path := _find(data, _TRAIN, name):
            return path
    raise _missing("training", data, _TRAIN, list(names))


def _split(
    path: Path, labels: Labels, validation: Benchmark, source: TaskSource
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    train, held = hold_out(
        read_examples(path, labels),
        source.validation_size,
        source.seed,
        lambda example: validation.labels.accepts(example.answer),
    )
    if not held:
        raise DataError(
            f"{path} has too few rows to hold out a fifth for validation: wanted at least 5 with "
            f"different instructions, each with {validation.labels.wanted} as answer"
        )
    return train, held


def _tests(data: Path, benchmarks: tuple[Benchmark, ...]) -> tuple[Split, ...]:
    tests = tuple(
        Split(benchmark.name, read_examples(path, benchmark.labels), benchmark.scorer)
        for benchmark in benchmarks
        if (path := _find(data, _TEST, benchmark.name))
    )
    if not tests:
        raise _missing("test", data, _TEST, [benchmark.name for benchmark in benchmarks])
    return tests


def _example(row: Any, labels: Labels, where: str) -> Example:
    if not isinstance(row, dict):
        raise DataError(f"{where} is {_type(row)}; wanted an object with instruction and answer")
    instruction = _text(row, "instruction", where)
    if not instruction:
        raise DataError(f"{where} has no instruction; every row needs a non-empty one")
    answer = _answer(row, where)
    if not labels.accepts(answer):
        raise DataError(f"{where} has the answer {answer!r}; wanted {labels.wanted}")
    return Example(
        prompt=alpaca(instruction, _text(row, "input", where)),
        completion=_text(row, "output", where) or f"The answer is {answer}.",
        answer=answer,
    )


def _answer(row: dict[str, Any], where: str) -> str:
    value = row.get("answer")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    answer = _text(row, "answer", where)
    if not answer:
        raise DataError(f"{where} has no answer; every row needs one, as text or number")
    return answer


def _text(row: dict[str, Any], field: str, where: str) -> str:
    """The stripped text of a field; empty when the field is absent or null."""
    value = row.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{where} has {_type(value)} as {field}; wanted text")
    if _SURROGATE.search(value):
        raise DataError(f"{where} has text in {field} that is not UTF-8; save the file as UTF-8")
    return value.strip()


def _type(value: Any) -> str:
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")
