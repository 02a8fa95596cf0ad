"""A user's own task: rows of theirs, a prompt template, an answer column and a scorer.

One example: with the prompt "{country}'s capital is" and the answer column "capital", the row
`{"country": "Peru", "capital": "Lima"}` becomes the prompt "Peru's capital is" and the completion
" Lima". Declared in a search space's module:

    OwnTask(name="capitals", train=HERE / "capitals.jsonl", prompt="{country}'s capital is",
            answer="capital", scorer="exact")

Invariant: a task is plain data that crosses processes and is stored with an exported adapter; a
function that scores is stored by its file and name, one of a notebook by a file with its source.
"""

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from perft.checks import (
    require_choice,
    require_name,
    require_positive,
    require_text,
    shown,
)
from perft.config.typed import read_fields, typed
from perft.errors import ConfigError, first_line
from perft.files import Json, require_file, resolved
from perft.modules import load_module
from perft.standalone import importable
from perft.tasks.chat_template import ChatTemplate
from perft.tasks.template import Template

Rule = Literal["exact", "numeric", "choice", "preference", "loss only"]
Judge = Callable[[str, str], bool]
"""Whether a generated text answers rightly, as `judge(text, label)`."""

_LONGEST_CHAT_TEXT = 100_000  # characters of a chat template or a system prompt

MAX_NEW_TOKENS = 1 << 16
"""The largest limit of generated tokens."""

FILES = (".json", ".jsonl", ".parquet")
DATASET = re.compile(r"(?P<id>[^\[\]:]+)(:(?P<config>[^\[\]]+))?(\[(?P<split>.+)\])?")
"""A dataset's id, then its configuration and split, if any."""


@dataclass(frozen=True, kw_only=True)
class OwnTask:
    """A user's own task.

    Data are a file (.json, .jsonl, .parquet), a dataset id or a local folder that holds a copy of
    one. Configuration and split may follow: "org/name:config[validation]"; by default the split is
    "train" or "test".

    Conversations are declared by `messages` in place of `prompt`; the base's own chat template
    writes them, and every turn of the assistant is trained:

        OwnTask(name="support", train="chats.jsonl", messages="messages", scorer="loss only")

    Attributes:
        name: what to call it.
        train: training data, a part of which is held out for validation.
        test: data to score chosen adapters on; None for none.
        prompt: template over columns, as "Question: {question} Answer:".
        answer: the column of the label; of pairs of answers, of the preferred one.
        completion: template of the completion to train on; by default a space and the answer.
        scorer: "exact" (the text is the label), "numeric" (the last number is, within 0.001),
            "choice" (as exact; likelihood may score it too), "preference" (which answer of a pair
            is preferred), "loss only" (nothing is generated), or a function of a module,
            `(text, label) -> bool`.
        choices: for "choice": all choices, or the column with a row's own list; a label is one of
            them or, as an integer, its index from 0.
        max_new_tokens: limit of generation.
        rejected: the column of the answer that `answer` is preferred to, put into `completion` in
            its place; "" where there are no pairs. Of conversations, the column of one that differs
            from `messages` in its last turn.
        messages: the column of conversations, lists of {"role", "content"}, in place of `prompt`;
            `answer` may then be left out, and the last turn is the label.
        system: a system prompt for conversations that have none.
        chat_template: in Jinja, or the file with it; by default the base's own.
        special_tokens: texts of the tokens that the template names, as {"bos_token": "<s>"}; by
            default the base's.
    """

    name: str
    train: str | Path
    scorer: Rule | Judge
    prompt: str = ""
    answer: str = ""
    test: str | Path | None = None
    completion: str = ""
    choices: str | tuple[str, ...] = ()
    max_new_tokens: int = 32
    rejected: str = ""
    messages: str = ""
    system: str = ""
    chat_template: str | Path = ""
    special_tokens: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        require_name("the name of a task", self.name)
        try:
            self._check()
        except ConfigError as error:
            raise ConfigError(f"task {self.name!r}: {error}") from error

    def _check(self) -> None:
        for name in ("train", "test"):
            place = getattr(self, name)
            if place is not None or name == "train":
                require_name(name, str(place) if isinstance(place, Path) else place, most=4096)
        if self.answer != "" or not self.messages:
            require_name("answer", self.answer)
        if callable(self.scorer):
            _require_function(self.scorer)
        else:
            require_choice("scorer", self.scorer, get_args(Rule))
        if self.rejected != "":
            require_name("rejected", self.rejected)
        elif self.scorer == "preference":
            raise ConfigError(
                'the scorer "preference" compares pairs, found no rejected; name the column of the '
                "rejected answers"
            )
        self._check_choices()
        require_positive("max_new_tokens", self.max_new_tokens, MAX_NEW_TOKENS)
        if self.messages:
            self._check_chats()
        else:
            self._check_prompt()

    def _check_choices(self) -> None:
        if (self.scorer == "choice") != bool(self.choices):
            raise ConfigError(
                'the scorer "choice" and choices belong together, found scorer '
                f"{self.scorer!r} and choices {shown(self.choices)}"
            )
        if not isinstance(self.choices, str | tuple | list):
            raise ConfigError(f"choices must be a column or texts, found {shown(self.choices)}")
        for choice in [self.choices] if isinstance(self.choices, str) else self.choices:
            if self.choices:
                require_text("choices", choice)

    def _check_prompt(self) -> None:
        if self.system or self.chat_template or self.special_tokens:
            raise ConfigError(
                "system, chat_template and special_tokens are of conversations, found no messages; "
                "name the column of the conversations"
            )
        if not self.prompt_template.columns:
            raise ConfigError(
                f"the prompt {shown(self.prompt)} names no column; write one in braces, as "
                "{question}"
            )
        _ = self.completion_template

    def _check_chats(self) -> None:
        require_name("messages", self.messages)
        for name in ("prompt", "completion", "choices"):
            if found := getattr(self, name):
                raise ConfigError(
                    f"{name} and messages exclude each other, found {shown(found)} and "
                    f"{shown(self.messages)}; leave one out"
                )
        if self.system:
            require_text("system", self.system, most=_LONGEST_CHAT_TEXT)
        if isinstance(self.chat_template, Path):
            require_name("chat_template", str(self.chat_template), most=4096)
        elif self.chat_template:
            require_text("chat_template", self.chat_template, most=_LONGEST_CHAT_TEXT)
        texts = typed(Mapping[str, str], self.special_tokens, "special_tokens")
        for token, text in texts.items():
            require_name("special_tokens", token)
            require_text("special_tokens", text)

    @property
    def template_of_chats(self) -> ChatTemplate:
        """The chat template.

        Raises:
            ConfigError: if neither the task nor its base has one, or its file is missing.
        """
        if not self.chat_template:
            raise ConfigError(
                f"task {self.name!r} is of conversations, and neither it nor the base has a chat "
                'template; give the task one, chat_template=Path("template.jinja"), or a base '
                "with a chat_template in its tokenizer"
            )
        return ChatTemplate(_template_text(self.chat_template), self.special_tokens)

    @property
    def prompt_template(self) -> Template:
        """The prompt, parsed."""
        return Template.parse(self.prompt, "prompt")

    @property
    def completion_template(self) -> Template:
        """The completion's template, parsed."""
        if self.completion == "":
            return Template.of_column(self.answer)
        return Template.parse(self.completion, "completion")

    def to_json(self) -> dict[str, Json]:
        """The task as JSON values; files by their absolute paths, a function by file and name."""
        flat = dataclasses.asdict(self)
        for name in ("train", "test"):
            flat[name] = _absolute(flat[name])
        flat["choices"] = flat["choices"] if isinstance(self.choices, str) else list(self.choices)
        flat["chat_template"] = _template_text(self.chat_template)
        flat["special_tokens"] = dict(self.special_tokens)
        if callable(self.scorer):
            flat["scorer"] = list(importable(self.scorer))
        return flat

    @classmethod
    def from_json(cls, flat: Mapping[str, object], *, trust_code: bool = False) -> "OwnTask":
        """Rebuilds what `to_json` wrote.

        Args:
            flat: the task as JSON values.
            trust_code: whether the file of a function that scores may be run.

        Raises:
            ConfigError: when the scorer's function is missing or not trusted.
        """
        known = read_fields(_Flat, flat)
        scorer = known.scorer
        if not (trust_code or isinstance(scorer, str)):
            raise ConfigError(
                f"task {known.name!r} is scored by {scorer[1]} of {scorer[0]}, code that is "
                "not trusted; look at it, then use --trust-code"
            )
        judge = scorer if isinstance(scorer, str) else _function(*scorer)
        return cls(**{**vars(known), "scorer": judge})


@dataclass(frozen=True, kw_only=True)
class _Flat:
    """An `OwnTask` as JSON has it."""

    name: str
    train: str
    scorer: str | tuple[str, ...]
    prompt: str = ""
    answer: str = ""
    test: str | None = None
    completion: str = ""
    choices: str | tuple[str, ...] = ()
    max_new_tokens: int = 32
    rejected: str = ""
    messages: str = ""
    system: str = ""
    chat_template: str = ""
    special_tokens: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.scorer, str) and len(self.scorer) != 2:
            raise ConfigError(f"scorer must be a file and a name, found {shown(self.scorer)}")


def _require_function(scorer: object) -> None:
    """Refuses a scorer that other processes cannot import by file and name."""
    name = getattr(scorer, "__qualname__", "")
    if not inspect.isfunction(scorer) or not name.isidentifier():
        raise ConfigError(
            "a scorer that is no rule must be a function of a module, defined by def at its top "
            f"level, found {shown(scorer)}"
        )


def path_and_rest(place: str) -> tuple[str, str]:
    """Splits a name of data into path or id, and configuration and split."""
    named = None if place.endswith(FILES) else DATASET.fullmatch(place)
    return (named["id"], place.removeprefix(named["id"])) if named else (place, "")


def _absolute(place: str | Path | None) -> str | None:
    """The absolute path of a local file or folder, which every process understands."""
    if place is None:
        return None
    path, rest = path_and_rest(str(place))
    # Links are not resolved: their targets may have no suffix, as in the hub's cache.
    here = resolved(Path(path).parent) / Path(path).name
    return f"{here}{rest}" if here.exists() else str(place)


def _template_text(template: str | Path) -> str:
    """The text of a chat template, which its file holds if it is a path."""
    if isinstance(template, str):
        return template
    try:
        require_file(template, _LONGEST_CHAT_TEXT)
        return template.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the chat_template {str(template)!r} cannot be read: {first_line(error)}; name a file "
            "of Jinja in UTF-8, by a path that holds from any folder: Path(__file__).parent / ..."
        ) from error


def _function(file: str, name: str) -> Judge:
    found = getattr(load_module(file), name, None)
    if not callable(found):
        raise ConfigError(f"{file} has no function {name} any more, which scores the task")
    return found  # type: ignore[no-any-return]
