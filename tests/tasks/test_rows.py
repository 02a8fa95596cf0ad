"""Files of every kind give the same rows, and what is wrong with one is said with its place."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from perft.errors import DataError
from perft.tasks.rows import DataRow, read_rows

ROWS = [{"id": "a", "text": "one\u2028line"}, {"id": "b", "text": "caf\u00e9"}]


def write(path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".parquet":
        parquet.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    else:
        path.write_text(json.dumps(rows), "utf-8")
    return path


every_kind = pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])


@every_kind
def test_rows_and_their_places(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"rows{suffix}", ROWS)
    assert read_rows(file) == [
        DataRow(f"{file}, row {i}", row) for i, row in enumerate(ROWS, start=1)
    ]


@every_kind
def test_ids_must_differ(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"rows{suffix}", [*ROWS, {"id": "a", "text": "again"}])
    with pytest.raises(DataError, match=rf"rows\{suffix}, row 3 has the id of row 1, 'a'"):
        read_rows(file)


def test_a_number_and_its_text_are_two_ids_and_null_is_none(tmp_path: Path) -> None:
    rows = [{"id": 1}, {"id": "1"}, {"id": None}, {"id": None}]
    assert len(read_rows(write(tmp_path / "rows.jsonl", rows))) == 4


@every_kind
def test_an_empty_file(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"rows{suffix}"
    file.write_bytes(b"")
    with pytest.raises(DataError, match=rf"rows\{suffix} (is not|holds no rows)"):
        read_rows(file)


def test_a_table_without_rows(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet holds no rows"):
        read_rows(tmp_path / "rows.parquet")


def test_lines_count_as_rows_blank_ones_too(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('\ufeff{"id": 1}\n\n{"id": 2}\r\n{"id": \n', "utf-8")
    with pytest.raises(DataError, match=r"rows\.jsonl, row 4 is not JSON"):
        read_rows(file)
    file.write_text('{"id": 1}\n\n{"id": 2}\r\n', "utf-8")
    assert [row.where.rpartition(" ")[2] for row in read_rows(file)] == ["1", "3"]


@pytest.mark.parametrize("line", ["[1]", "null", "7", '"text"'])
def test_a_line_that_is_no_object(tmp_path: Path, line: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"id": 1}}\n{line}\n')
    with pytest.raises(DataError, match=r"row 2 is (an? \w+|null|text); wanted an ob"):
        read_rows(file)


def test_bytes_that_are_not_utf8_are_named_by_row(tmp_path: Path) -> None:
    lines = tmp_path / "rows.jsonl"
    lines.write_bytes(b'{"text": "plain"}\n{"text": "caf\xe9"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl, row 2 has text in text that is not UTF-8"):
        [row.text("text") for row in read_rows(lines)]
    table = pa.table({"text": pa.array([b"plain", b"caf\xe9"]).cast(pa.binary())})
    broken = pa.Array.from_buffers(pa.string(), 2, table["text"].chunk(0).buffers())
    parquet.write_table(pa.table({"text": broken}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows\.parquet, row 2 has text that is not UTF-8"):
        read_rows(tmp_path / "rows.parquet")


def test_a_missing_file_and_an_unknown_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json cannot be read: No such file"):
        read_rows(tmp_path / "none.json")
    with pytest.raises(DataError, match=r"none\.parquet cannot be read"):
        read_rows(tmp_path / "none.parquet")
    with pytest.raises(DataError, match=r"rows\.csv is of no known kind; wanted one JSON array"):
        read_rows(tmp_path / "rows.csv")


def test_a_wrong_column_is_answered_with_those_there_are() -> None:
    row = DataRow("rows.json, row 4", {"question": "2 + 2?", "answer": 4})
    with pytest.raises(DataError, match=r"row 4 has no instruction.*columns: question, answer\)"):
        row.required("instruction")
    assert row.label("answer") == "4"
