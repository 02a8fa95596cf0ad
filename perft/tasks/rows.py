"""Reads rows of task data: JSON, JSON Lines, Parquet, or a dataset by way of `datasets`.

Invariant: an unusable row is a DataError that names the file (or dataset) and the row, counted from
1; in JSON Lines a row is a line. Data are never executed or unpickled.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perft.errors import DataError
from perft.files import require_file

if TYPE_CHECKING:
    import pyarrow

ID = "id"
"""A column of this name must be unique, if there is one."""

MAX_BYTES = 1 << 33
"""Most bytes of a data file."""
MAX_CHARACTERS = 1_000_000
"""Most characters of one text of a row."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_KNOWN = "one JSON array of objects (.json), one JSON object per line (.jsonl), or Parquet"


@dataclass(frozen=True)
class DataRow:
    """One row of data, and its position.

    Attributes:
        where: file or dataset and row, as errors name it.
        values: by column.
    """

    where: str
    values: Mapping[str, object]

    def text(self, column: str) -> str:
        """The stripped text of a column; empty when it is absent or null.

        Raises:
            DataError: when the value is not text, not UTF-8, or too long.
        """
        value = self.values.get(column)
        return "" if value is None else self.part(column, value)

    def part(self, column: str, value: object) -> str:
        """The stripped text of a column's value, or of one item of it.

        Raises:
            DataError: when it is not text, not UTF-8, or too long.
        """
        if not isinstance(value, str):
            raise DataError(f"{self.where} has {kind_of(value)} as {column}; wanted text")
        if len(value) > MAX_CHARACTERS:
            raise DataError(
                f"{self.where} has {len(value):,} characters in {column}; wanted at most "
                f"{MAX_CHARACTERS:,}"
            )
        if _SURROGATE.search(value):
            raise DataError(
                f"{self.where} has text in {column} that is not UTF-8; save the file as UTF-8"
            )
        return value.strip()

    def required(self, column: str) -> str:
        """Like `text`, but refuses an absent or blank value."""
        text = self.text(column)
        if not text:
            columns = ", ".join(map(str, self.values)) or "none"
            raise DataError(
                f"{self.where} has no {column}; every row needs one that is not empty "
                f"(its columns: {columns})"
            )
        return text

    def label(self, column: str) -> str:
        """A required text or number, as text."""
        value = self.values.get(column)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        return self.required(column)


def read_rows(path: Path) -> list[DataRow]:
    """Reads a file, by its suffix.

    Raises:
        DataError: when the file is missing, empty, of another kind or damaged, a row is not an
            object, or two rows have the same id.
    """
    readers: dict[str, Callable[[Path], Iterable[tuple[int, object]]]] = {
        ".json": _json_array,
        ".jsonl": _json_lines,
        ".parquet": _parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path} is of no known kind; wanted {_KNOWN}")
    try:
        require_file(path, MAX_BYTES)
        values = reader(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    return checked_rows(str(path), values)


def checked_rows(place: str, values: Iterable[tuple[int, object]]) -> list[DataRow]:
    """Rows from their numbers and values, checked to be objects with unique ids.

    Raises:
        DataError: when there is no row, one is not an object, or two have the same id.
    """
    rows: list[DataRow] = []
    seen: dict[str, int] = {}
    for number, value in values:
        where = f"{place}, row {number}"
        if not isinstance(value, dict):
            raise DataError(f"{where} is {kind_of(value)}; wanted an object")
        if value.get(ID) is not None:
            first = seen.setdefault(json.dumps(value[ID], default=str), number)
            if first != number:
                raise DataError(
                    f"{where} has the id of row {first}, {value[ID]!r}; ids must differ"
                )
        rows.append(DataRow(where, value))
    if not rows:
        raise DataError(f"{place} holds no rows; wanted at least one")
    return rows


def kind_of(value: object) -> str:
    """The kind of a JSON value, in words."""
    names = {dict: "an object", list: "an array", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def _decoded(path: Path) -> str:
    # Bytes that are not UTF-8 become lone surrogates, so that their row can be named.
    return path.read_bytes().decode("utf-8-sig", errors="surrogateescape")


def _json_array(path: Path) -> Iterable[tuple[int, object]]:
    wanted = "wanted one JSON array of objects in UTF-8"
    try:
        values = json.loads(_decoded(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON in UTF-8 ({error}); {wanted}") from error
    if not isinstance(values, list) or not values:
        found = "an empty array" if values == [] else kind_of(values)
        raise DataError(f"{path} holds {found}; {wanted}")
    return enumerate(values, start=1)


def _json_lines(path: Path) -> Iterable[tuple[int, object]]:
    values: list[tuple[int, object]] = []
    # Only line feeds separate rows: a text may hold others of Python's line separators.
    for number, line in enumerate(_decoded(path).split("\n"), start=1):
        try:
            if line.strip():
                values.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, row {number} is not JSON ({error}); wanted one JSON object per line"
            ) from error
    return values


def _parquet(path: Path) -> Iterable[tuple[int, object]]:
    import pyarrow as pa  # noqa: PLC0415 - JSON alone does not need it
    from pyarrow import parquet  # noqa: PLC0415

    try:
        table = parquet.ParquetFile(path).read()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not Parquet ({error})") from error
    return rows_of_table(str(path), table)


def rows_of_table(place: str, table: "pyarrow.Table") -> Iterable[tuple[int, object]]:
    """The rows of an Arrow table with their numbers; names the row of text that is not UTF-8."""
    try:
        return enumerate(table.to_pylist(), start=1)
    except UnicodeDecodeError:
        for index in range(len(table)):
            try:
                table.slice(index, 1).to_pylist()
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{place}, row {index + 1} has text that is not UTF-8 ({error.reason})"
                ) from error
        raise
