"""A user's own task: rows of theirs, a prompt template, an answer column and a scorer.

One example: with the prompt "{country}'s capital is" and the answer column "capital", the row
`{"country": "Peru", "capital": "Lima"}` becomes the prompt "Peru's capital is" and the completion
" Lima". Declared in a search space's module:

    OwnTask(name="capitals", train=HERE / "capitals.jsonl", prompt="{country}'s capital is",
            answer="capital", scorer="exact")

Invariant: a task is plain data, so that it crosses processes and goes with an exported adapter; a
function that scores goes by its file and name.
"""

import dataclasses
import inspect
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from perft.errors import ConfigError, DataError, unknown
from perft.modules import module_of
from perft.tasks.extraction import is_number, labels_match, last_number, numbers_match
from perft.tasks.hub import dataset_rows
from perft.tasks.rows import Row, read_rows
from perft.tasks.splits import hold_out
from perft.tasks.task import Example, Scorer, Split, Task, TaskSource

Rule = Literal["exact", "numeric", "choice", "loss only"]
Judge = Callable[[str, str], bool]
"""Says of a generated text whether it answers rightly, as `judge(text, label)`."""

_FILES = (".json", ".jsonl", ".parquet")
_DATASET = re.compile(r"(?P<id>[^\[\]:]+)(:(?P<config>[^\[\]]+))?(\[(?P<split>.+)\])?")


@dataclass(frozen=True, kw_only=True)
class OwnTask:
    """A user's own task.

    Data are a file (.json, .jsonl, .parquet), a dataset id or a local folder that holds a copy of
    one. Configuration and split may follow: "org/name:config[validation]"; unless it does, the
    split is "train" or "test".

    Attributes:
        name: what to call it.
        train: data to train on, of which some are held out for validation.
        test: data to score chosen adapters on; None for none.
        prompt: template over columns, as "Question: {question} Answer:".
        answer: the column of the label.
        completion: template of what training teaches to write; a space and the answer unless set.
        scorer: "exact" (the text is the label), "numeric" (the last number is, within 0.001),
            "choice" (as exact; likelihood may score it too), "loss only" (nothing is generated), or
            a function of a module, `(text, label) -> bool`.
        choices: of "choice": all of them, or the column that holds a row's own list; a label is
            then one of them or, as an integer, its place from 0.
        max_new_tokens: limit of generation.
    """

    name: str
    train: str | Path
    prompt: str
    answer: str
    scorer: Rule | Judge
    test: str | Path | None = None
    completion: str = ""
    choices: str | tuple[str, ...] = ()
    max_new_tokens: int = 32

    def __post_init__(self) -> None:
        if not callable(self.scorer) and self.scorer not in get_args(Rule):
            raise ConfigError(unknown("scorer", str(self.scorer), get_args(Rule)))
        if (self.scorer == "choice") != bool(self.choices):
            raise ConfigError(
                f'task {self.name!r}: the scorer "choice" and choices belong together, found '
                f"scorer {self.scorer!r} and choices {self.choices!r}"
            )
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens must be at least 1, found {self.max_new_tokens}")
        if not _columns(self.prompt):
            raise ConfigError(
                f"task {self.name!r}: the prompt {self.prompt!r} names no column; write one in "
                "braces, as {question}"
            )

    def to_json(self) -> dict[str, Any]:
        """The task as JSON values; files by their absolute paths, a function by file and name."""
        flat = dataclasses.asdict(self)
        for name in ("train", "test"):
            flat[name] = _absolute(flat[name])
        flat["choices"] = flat["choices"] if isinstance(self.choices, str) else list(self.choices)
        if callable(self.scorer):
            flat["scorer"] = [str(inspect.getsourcefile(self.scorer)), self.scorer.__qualname__]
        return flat

    @classmethod
    def from_json(cls, flat: Mapping[str, Any], *, trust_code: bool = False) -> "OwnTask":
        """Rebuilds what `to_json` wrote.

        Args:
            flat: the task as JSON values.
            trust_code: whether the file of a function that scores may be run.

        Raises:
            ConfigError: when the scorer's function is not where it was, or not to be run.
        """
        scorer, choices = flat["scorer"], flat["choices"]
        if not (trust_code or isinstance(scorer, str)):
            raise ConfigError(
                f"task {flat['name']!r} is scored by {scorer[1]} of {scorer[0]}, code that nobody "
                "has said to run; look at it, then use --trust-code"
            )
        return cls(
            **{
                **flat,
                "scorer": scorer if isinstance(scorer, str) else _function(*scorer),
                "choices": choices if isinstance(choices, str) else tuple(choices),
            }
        )


def load(own: OwnTask, source: TaskSource) -> Task:
    """Loads a user's own task.

    Raises:
        ConfigError: when files are named that are not data.
        DataError: when a file, dataset or row cannot be used.
    """
    scorer = _scorer(own)
    rows = _rows(str(own.train), "train")
    examples = tuple(_example(own, row) for row in rows)
    train, held = hold_out(examples, source.validation_size, source.seed, lambda _: True)
    if not held:
        raise DataError(
            f"{own.train} has too few rows to hold out a fifth for validation: wanted at least 5 "
            "with different prompts"
        )
    tests: tuple[Split, ...] = ()
    if own.test is not None:
        rows = _rows(str(own.test), "test")
        tests = (Split("test", tuple(_example(own, row) for row in rows), scorer),)
    return Task(own.name, Split("train", train, scorer), Split("validation", held, scorer), tests)


def _rows(place: str, split: str) -> list[Row]:
    if place.endswith(_FILES):
        return read_rows(Path(place).expanduser())
    named = _DATASET.fullmatch(place)
    if named is None:
        raise ConfigError(
            f"{place!r} is neither a file ({', '.join(_FILES)}) nor a dataset such as "
            '"org/name:config[split]"'
        )
    return dataset_rows(named["id"], named["config"], named["split"] or split)


def _example(own: OwnTask, row: Row) -> Example:
    values = {name: _value(row, name) for name in _columns(own.prompt + own.completion)}
    choices = _choices(own, row)
    answer = _label(own, row, choices)
    template = own.completion or f" {{{own.answer}}}"
    written = [template.format(**{**values, own.answer: text}) for text in (answer, *choices)]
    prompt = own.prompt.format(**values)
    return Example(prompt, written[0], answer, tuple(written[1:]), row.where)


def _label(own: OwnTask, row: Row, choices: tuple[str, ...]) -> str:
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


def _choices(own: OwnTask, row: Row) -> tuple[str, ...]:
    if not isinstance(own.choices, str):
        return own.choices
    found = row.values.get(own.choices)
    if not (isinstance(found, list) and found and all(isinstance(each, str) for each in found)):
        raise DataError(f"{row.where} has no list of texts in {own.choices}; wanted its choices")
    return tuple(choice.strip() for choice in found)


def _value(row: Row, column: str) -> str:
    """What the template gets: text, which may be blank, or a number."""
    if isinstance(row.values.get(column), str):
        return row.text(column)
    return row.label(column)


def _scorer(own: OwnTask) -> Scorer:
    rule = own.scorer if isinstance(own.scorer, str) else own.scorer.__qualname__
    if rule == "loss only":
        return Scorer("loss only", 0, lambda _: None, labels_match)
    protocol = f"own task {own.name}: {rule}, greedy, {own.max_new_tokens} tokens"
    if own.scorer == "numeric":
        return Scorer(protocol, own.max_new_tokens, last_number, numbers_match)
    matches = own.scorer if callable(own.scorer) else labels_match
    return Scorer(protocol, own.max_new_tokens, lambda text: text.strip() or None, matches)


def _columns(template: str) -> set[str]:
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    except ValueError as error:
        raise ConfigError(
            f"{template!r} is no template: {error}; double a brace to mean it"
        ) from error
    if any(not name or name.isdigit() for name in names):
        raise ConfigError(f"{template!r} is no template: name a column in every pair of braces")
    return names


def path_and_rest(place: str) -> tuple[str, str]:
    """The path or id that data are named by, and the configuration and split that follow it."""
    named = None if place.endswith(_FILES) else _DATASET.fullmatch(place)
    return (named["id"], place.removeprefix(named["id"])) if named else (place, "")


def _absolute(place: str | Path | None) -> str | None:
    """A file or folder here by its absolute path, which means the same in every process."""
    if place is None:
        return None
    path, rest = path_and_rest(str(place))
    here = Path(path).expanduser()
    return f"{here.resolve()}{rest}" if here.exists() else str(place)


def _function(file: str, name: str) -> Judge:
    found = getattr(module_of(file), name, None)
    if not callable(found):
        raise ConfigError(f"{file} has no function {name} any more, which scores the task")
    return found  # type: ignore[no-any-return]
