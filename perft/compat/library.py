"""Checks of the interfaces that a compatibility module relies on."""

import contextlib
import importlib.metadata
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

from perft.errors import LibraryError, first_line


@dataclass(frozen=True)
class Library:
    """A library with undocumented interfaces that perft uses.

    Attributes:
        name: its name for pip.
        tested: the version that perft was tested with, as in `constraints.txt`.
    """

    name: str
    tested: str

    @contextlib.contextmanager
    def needs(self, purpose: str) -> Iterator[None]:
        """Inside, a missing import or attribute raises `LibraryError`.

        Args:
            purpose: what perft needs the interfaces for, such as "to count the memory of a step".

        Raises:
            LibraryError: if one is missing; names it.
        """
        try:
            yield
        except (ImportError, AttributeError) as error:
            missing = first_line(error).partition(" (")[0]  # without the library's folder
            raise self._lacks(f"an interface that perft needs {purpose}: {missing}") from error

    def require(self, is_there: bool, interface: str, purpose: str) -> None:
        """Checks an attribute, a signature or a behaviour.

        Args:
            is_there: whether it is as perft needs it.
            interface: its dotted path, or the behaviour needed.
            purpose: as in `needs`.

        Raises:
            LibraryError: if it is not.
        """
        if not is_there:
            raise self._lacks(f"{interface}, which perft needs {purpose}")

    def _lacks(self, what: str) -> LibraryError:
        return LibraryError(
            f"found {self.name} {importlib.metadata.version(self.name)} without {what}; install "
            f"the version that perft was tested with: pip install '{self.name}=={self.tested}'"
        )


def names_in(function: Callable[..., Any]) -> frozenset[str]:
    """The names, attributes and strings in a function's code and in its inner functions."""
    pending, found = [inspect.unwrap(function).__code__], set[str]()
    while pending:
        code = pending.pop()
        found |= {*code.co_names, *code.co_varnames}
        found |= {constant for constant in code.co_consts if isinstance(constant, str)}
        pending += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return frozenset(found)
