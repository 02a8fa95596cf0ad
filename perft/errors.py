"""Every error a user can cause, each also a standard exception type.

A message says what was found, what was wanted, and what to do. All errors survive pickling,
so that they cross process boundaries unchanged.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PerftError(Exception):
    """Base of all errors that perft raises on purpose."""


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


def unknown(kind: str, found: str, known: Iterable[str]) -> str:
    """Says that `found` is no `kind` (such as "variant"), with the nearest names and all names."""
    names = sorted(known)
    near = get_close_matches(found, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"unknown {kind} {found!r}{hint} (known: {', '.join(names)})"
