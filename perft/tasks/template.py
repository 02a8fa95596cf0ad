"""Templates over columns: text with plain column names in braces, and nothing else.

A template may come from an untrusted adapter folder, so it can only concatenate texts: attributes,
indices, conversions and widths of Python's format strings are refused.
"""

import string
from collections.abc import Mapping
from dataclasses import dataclass

from perft.checks import require_name, require_text, shown
from perft.errors import ConfigError
from perft.tasks.rows import MAX_CHARACTERS

_LONGEST = 100_000  # characters of a template


@dataclass(frozen=True)
class Template:
    """A template, parsed.

    Attributes:
        pieces: pairs of a text and the column that follows it; "" for no column.
    """

    pieces: tuple[tuple[str, str], ...]

    @classmethod
    def parse(cls, text: str, name: str) -> "Template":
        """Reads a template such as "Question: {question} Answer:"; "{{" means a brace.

        Args:
            text: the template.
            name: what errors call it, such as "prompt".

        Raises:
            ConfigError: if braces hold anything but the plain name of a column.
        """
        require_text(name, text, most=_LONGEST)
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise ConfigError(
                f"{name} {shown(text)} is no template: {error}; double a brace to mean it"
            ) from error
        for _, column, spec, conversion in parsed:
            if column is not None:
                _require_plain(name, column, spec or "", conversion or "")
        return cls(tuple((literal, column or "") for literal, column, _, _ in parsed))

    @classmethod
    def of_column(cls, column: str) -> "Template":
        """A template of a space and the column."""
        return cls(((" ", column),))

    @property
    def columns(self) -> frozenset[str]:
        """The columns of the template."""
        return frozenset(column for _, column in self.pieces if column)

    def fill(self, values: Mapping[str, str]) -> str:
        """Fills in the columns' values.

        Raises:
            ValueError: if the text is longer than `MAX_CHARACTERS`.
        """
        pairs = ((text, values[column] if column else "") for text, column in self.pieces)
        parts = [part for pair in pairs for part in pair]
        length = sum(map(len, parts))
        if length > MAX_CHARACTERS:
            raise ValueError(
                f"{length:,} characters in its template; wanted at most {MAX_CHARACTERS:,}"
            )
        return "".join(parts)


def _require_plain(name: str, column: str, spec: str, conversion: str) -> None:
    written = column + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
    if not column or column.isdigit():
        raise ConfigError(
            f"{name}: {shown('{' + written + '}')} is no column; name a column in every pair of "
            "braces"
        )
    if spec or conversion or any(character in ".[]{}" for character in column):
        raise ConfigError(
            f"{name}: {shown('{' + written + '}')} is more than the plain name of a column; write "
            "{column}, or rename the column"
        )
    require_name(f"a column of {name}", column)
