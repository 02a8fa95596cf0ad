"""Every error that a user can cause; each is also a standard exception type.

A message says what was found, what was wanted, and what to do. All errors survive pickling,
so that they cross process boundaries unchanged.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from perft.masking import masked

_LONGEST_MESSAGE = 3000
_LONGEST_READ = 30_000  # characters of a message that are read
_LONGEST = 80  # characters of a name that an error shows


class PerftError(Exception):
    """Base of all errors that perft raises on purpose.

    Its message is one line of printable text, without passwords or keys whatever it quotes.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_cleaned(arg) if isinstance(arg, str) else arg for arg in args))


class ConfigError(PerftError, ValueError):
    """A setting is outside its range or does not fit the other settings."""


class DataError(PerftError, ValueError):
    """A data file or row cannot be used; the message names the file and the row."""


class BaseModelError(PerftError, ValueError):
    """The base is missing, has no weights, or is not a supported MoE family."""


class AdapterError(PerftError, ValueError):
    """An adapter does not fit the base it is put on, or its folder is damaged."""


class StorageError(PerftError, OSError):
    """A storage or tracking place cannot be read or written."""


class DamagedError(StorageError):
    """A file in a storage is damaged; the message names it."""


class LibraryError(PerftError, ImportError):
    """An installed library lacks an interface that perft needs; the message names both."""


class SearchError(PerftError, RuntimeError):
    """A search cannot start, be resumed, or be found."""


class InterruptedSearchError(SearchError):
    """A search was stopped by its user and can be resumed."""


class CallbackError(SearchError):
    """A callback of a program has raised; its error is the cause."""


def first_line(error: BaseException) -> str:
    """First line of an error's message; its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def printable(text: str) -> str:
    """The text in one line, with control characters escaped."""
    line = " ".join(line.strip() for line in text.splitlines() if line.strip())
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _cleaned(message: str) -> str:
    line = masked(printable(message[:_LONGEST_READ]))
    if len(line) <= _LONGEST_MESSAGE:
        return line
    return f"{line[: _LONGEST_MESSAGE - 500]} ... {line[-490:]}"


def unknown(kind: str, found: str, known: Iterable[str]) -> str:
    """Says that `found` is no `kind` (such as "variant"), with the nearest names and all names."""
    names = sorted(known, key=lambda name: (0, int(name)) if name.isdecimal() else (1, name))
    near = get_close_matches(found[:_LONGEST], names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    shown = masked(repr(found) if len(found) <= _LONGEST else f"{found[:_LONGEST]!r}...")
    return f"unknown {kind} {shown}{hint} (known: {', '.join(names)})"


def listed(names: Iterable[str], word: str = "or") -> str:
    """Names as a sentence has them: "a, b or c"."""
    *others, last = names
    return f"{', '.join(others)} {word} {last}" if others else last
