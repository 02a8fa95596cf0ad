"""Every error a user can cause, each also a standard exception type.

A message says what was found, what was wanted, and what to do. All errors survive pickling,
so that they cross process boundaries unchanged.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from perft.masking import masked

_LONGEST_MESSAGE = 3000
_LONGEST_READ = 30_000  # characters of which the message is made
_LONGEST = 80  # characters of a name that an error shows


class PerftError(Exception):
    """Base of all errors that perft raises on purpose.

    Whatever its message quotes, it is one line of printable text without passwords or keys.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(_told(arg) if isinstance(arg, str) else arg for arg in args))


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
    """A file in a storage is not what was written; the message names it."""


class SearchError(PerftError, RuntimeError):
    """A search cannot start, go on, or be found."""


class InterruptedSearchError(SearchError):
    """A search was stopped by its user, and can be gone on with."""


def first_line(error: BaseException) -> str:
    """What an error says first; its type where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def printable(text: str) -> str:
    """The text in one line, with what would steer a terminal written as escapes."""
    line = " ".join(line.strip() for line in text.splitlines() if line.strip())
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _told(message: str) -> str:
    line = masked(printable(message[:_LONGEST_READ]))
    if len(line) <= _LONGEST_MESSAGE:
        return line
    return f"{line[: _LONGEST_MESSAGE - 500]} ... {line[-490:]}"


def unknown(kind: str, found: str, known: Iterable[str]) -> str:
    """Says that `found` is no `kind` (such as "variant"), with the nearest names and all names."""
    names = sorted(known)
    near = get_close_matches(found[:_LONGEST], names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    shown = masked(repr(found) if len(found) <= _LONGEST else f"{found[:_LONGEST]!r}...")
    return f"unknown {kind} {shown}{hint} (known: {', '.join(names)})"
