"""Makes the examples and the scorer of a user's own task."""

from dataclasses import replace
from pathlib import Path

from perft.checks import shown
from perft.errors import ConfigError, DataError, first_line
from perft.files import resolved
from perft.tasks.chat_examples import ChatExampleBuilder, answer_of
from perft.tasks.extraction import is_number, labels_match, last_number, numbers_match
from perft.tasks.hub import dataset_rows
from perft.tasks.own import DATASET, FILES, Judge, OwnTask
from perft.tasks.rows import DataRow, read_rows
from perft.tasks.scoring import PREFERENCE
from perft.tasks.splits import hold_out
from perft.tasks.task import Example, Scorer, Split, Task, TaskSource


def load(own: OwnTask, source: TaskSource) -> Task:
    """Loads a user's own task.

    Raises:
        ConfigError: when a name is neither a data file nor a dataset.
        DataError: when a file, dataset or row is unusable.
    """
    scorer = _scorer(own)
    make = _builder(own)
    rows = _rows(str(own.train), "train")
    examples = tuple(make(row) for row in rows)
    _check_scorer(own, examples[0].answer)
    train, held = hold_out(examples, source.validation_size, source.seed, lambda _: True)
    if not held:
        raise DataError(
            f"{own.train} has too few rows to hold out a fifth for validation: wanted at least 5 "
            "with different prompts"
        )
    if isinstance(make, ChatExampleBuilder):
        train = make.earlier_turns(train, held)
    tests = () if own.test is None else (_test(own, make, scorer),)
    return Task(own.name, Split("train", train, scorer), Split("validation", held, scorer), tests)


def load_test(own: OwnTask) -> Split:
    """The test split of a user's own task, without its training data.

    Raises:
        ConfigError, DataError: as `load`.
    """
    assert own.test is not None, "the task has no test split"
    split = _test(own, _builder(own), _scorer(own))
    _check_scorer(own, split.examples[0].answer)
    return split


def _test(own: OwnTask, make: "_Builder", scorer: Scorer) -> Split:
    return Split("test", tuple(make(row) for row in _rows(str(own.test), "test")), scorer)


def _rows(place: str, split: str) -> list[DataRow]:
    if place.endswith(FILES):
        return read_rows(resolved(Path(place).parent) / Path(place).name)
    named = DATASET.fullmatch(place)
    if named is None:
        raise ConfigError(
            f"{place!r} is neither a file ({', '.join(FILES)}) nor a dataset such as "
            '"org/name:config[split]"'
        )
    return dataset_rows(named["id"], named["config"], named["split"] or split)


def _builder(own: OwnTask) -> "_Builder":
    return ChatExampleBuilder(own) if own.messages else _ExampleBuilder(own)


class _ExampleBuilder:
    """Turns rows into examples, with templates that are parsed once."""

    def __init__(self, own: OwnTask) -> None:
        self._own = own
        self._prompt, self._completion = own.prompt_template, own.completion_template

    def __call__(self, row: DataRow) -> Example:
        own = self._own
        columns = self._prompt.columns | (self._completion.columns - {own.answer})
        values = {name: _value(row, name) for name in columns}
        choices = _choices(own, row)
        answer = _label(own, row, choices)
        rejected = _rejected(own, row, answer)
        try:
            prompt = self._prompt.fill(values)
            completion, *others = (
                self._completion.fill({**values, own.answer: text})
                for text in (answer, *choices, *rejected)
            )
        except ValueError as error:
            raise DataError(f"{row.where} has {error}") from error
        made = Example(prompt, completion, answer, tuple(others[: len(choices)]), row.where)
        return replace(made, rejected=others[-1]) if rejected else made


_Builder = _ExampleBuilder | ChatExampleBuilder


def _check_scorer(own: OwnTask, label: str) -> None:
    """Calls a scoring function once, so that its errors show before a worker starts."""
    if isinstance(own.scorer, str):
        return
    try:
        bool(own.scorer(label, label))
    except Exception as error:
        raise ConfigError(
            f"task {own.name!r}: {own.scorer.__qualname__}({shown(label)}, {shown(label)}), which "
            f"scores it, raised {type(error).__name__}: {first_line(error)}"
        ) from error


def _label(own: OwnTask, row: DataRow, choices: tuple[str, ...]) -> str:
    place = row.values.get(own.answer)
    if choices and isinstance(place, int) and not isinstance(place, bool):
        if not 0 <= place < len(choices):
            raise DataError(f"{row.where} has the answer {place}; wanted 0 to {len(choices) - 1}")
        return choices[place]
    answer = row.label(own.answer)
    if choices and answer not in choices:
        raise DataError(f"{row.where} has the answer {answer!r}; wanted one of {list(choices)}")
    if own.scorer == "numeric" and not is_number(answer):
        raise DataError(f"{row.where} has the answer {answer!r}; wanted a number")
    return answer


def _rejected(own: OwnTask, row: DataRow, answer: str) -> tuple[str, ...]:
    """What the answer is preferred to; nothing where there are no pairs."""
    if not own.rejected:
        return ()
    rejected = row.label(own.rejected)
    if rejected == answer:
        raise DataError(
            f"{row.where} has the same text as {own.answer} and as {own.rejected}; wanted two "
            "different answers"
        )
    return (rejected,)


def _choices(own: OwnTask, row: DataRow) -> tuple[str, ...]:
    if not (own.choices and isinstance(own.choices, str)):
        return tuple(own.choices)
    found = row.values.get(own.choices)
    if not (isinstance(found, list) and found and all(isinstance(each, str) for each in found)):
        raise DataError(f"{row.where} has no list of texts in {own.choices}; wanted its choices")
    return tuple(row.part(own.choices, choice) for choice in found)


def _value(row: DataRow, column: str) -> str:
    """A value for a template: text, which may be blank, or a number."""
    if isinstance(row.values.get(column), str):
        return row.text(column)
    return row.label(column)


def _scorer(own: OwnTask) -> Scorer:
    rule = own.scorer if isinstance(own.scorer, str) else own.scorer.__qualname__
    if rule == "loss only":
        return Scorer("loss only", 0, lambda _: None, labels_match)
    if rule == "preference":
        protocol = f"own task {own.name}: {PREFERENCE.protocol}"
        return replace(PREFERENCE, protocol=protocol)
    protocol = f"own task {own.name}: {rule}, greedy, {own.max_new_tokens} tokens"
    if own.scorer == "numeric":
        return Scorer(protocol, own.max_new_tokens, last_number, numbers_match)
    extract = answer_of if own.messages else (lambda text: text.strip() or None)
    matches = _judge(own.scorer) if callable(own.scorer) else labels_match
    return Scorer(protocol, own.max_new_tokens, extract, matches)


def _judge(function: Judge) -> Judge:
    return lambda text, label: bool(function(text, label))
