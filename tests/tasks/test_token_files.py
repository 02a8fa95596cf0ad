"""Token rows are made once for whatever they follow from, whole or not at all, and read-only."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from perft.errors import ConfigError, StorageError
from perft.tasks import Example
from perft.tasks.token_files import FILE, cached_rows, fingerprint_of
from perft.tasks.tokenize import TokenizedSplit, tokenize
from tasks.byte_tokenizer import BOS, PLAIN

MANY = tuple(Example(f"{i} + {i * i} =", " ?" * (i % 7), "") for i in range(50))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path))
    return tmp_path / "tokens"


def once(
    examples: Any = MANY, tokenizer: Any = PLAIN, **settings: Any
) -> tuple[TokenizedSplit, int]:
    """The rows, and how often they were made."""
    made: list[int] = []

    def make() -> TokenizedSplit:
        made.append(1)
        return tokenize(examples, tokenizer, 20, "answer")

    settings = {"kind": "answer", "max_length": 20} | settings
    return cached_rows(examples, fingerprint_of(tokenizer), make, **settings), len(made)


def equal(one: TokenizedSplit, other: TokenizedSplit) -> bool:
    rows = [
        one.row(i)[1] == other.row(i)[1] and np.array_equal(one.row(i)[0], other.row(i)[0])
        for i in range(len(one))
    ]
    return all(rows) and len(one) == len(other) and one.truncated == other.truncated


def test_rows_from_disk_equal_those_in_memory() -> None:
    (first, made), (again, made_again) = once(), once()
    assert (made, made_again) == (1, 0)
    memory = tokenize(MANY, PLAIN, 20, "answer")
    assert equal(first, memory)
    assert equal(again, memory)
    assert [array.dtype for array in (again.ids, again.starts, again.lengths)] == [
        memory.ids.dtype, memory.starts.dtype, memory.lengths.dtype,
    ]  # fmt: skip


def test_rows_are_mapped_read_only() -> None:
    rows, _ = once()
    before = pa.total_allocated_bytes()
    again, _ = once()
    assert pa.total_allocated_bytes() == before, "the file is not read into memory"
    assert np.shares_memory(again.row(3)[0], again.ids)
    for ids in (rows.ids, again.row(0)[0]):
        with pytest.raises(ValueError, match="read-only"):
            ids[0] = 7


def test_the_file_is_an_arrow_table_longest_row_first(folder: Path) -> None:
    once()
    (file,) = folder.glob(f"*/{FILE}")
    table = pa.ipc.open_file(file).read_all()
    lengths = [len(ids) for ids in table["ids"].to_pylist()]
    assert lengths == sorted(lengths, reverse=True)
    assert sorted(table["example"].to_pylist()) == list(range(50))


def test_anything_that_rows_follow_from_makes_them_again() -> None:
    once()
    changed = dataclasses.replace(MANY[7], completion=" .")
    for again in (
        {"examples": (*MANY[:7], changed, *MANY[8:])},
        {"examples": MANY[::-1]},
        {"tokenizer": BOS},
        {"max_length": 21},
        {"kind": "all"},
    ):
        assert once(**again)[1] == 1, again
        assert once(**again)[1] == 0, again
    other_label = dataclasses.replace(MANY[7], answer="another")
    assert once(examples=(*MANY[:7], other_label, *MANY[8:]))[1] == 0, "no part of the tokens"


def test_a_tokenizer_is_known_by_what_it_does_not_by_its_last_call() -> None:
    before = fingerprint_of(PLAIN)
    PLAIN(["abc"], max_length=2, truncation=True)
    assert fingerprint_of(PLAIN) == before
    assert fingerprint_of(BOS) != before


def test_rows_that_cannot_be_made_leave_nothing(folder: Path) -> None:
    def fails() -> TokenizedSplit:
        raise ConfigError("no room")

    with pytest.raises(ConfigError, match="no room"):
        cached_rows(MANY, "print", fails, kind="answer")
    assert not [path for path in folder.iterdir() if path.is_dir()]
    rows = cached_rows(MANY, "print", lambda: tokenize(MANY, PLAIN, 20, "answer"), kind="answer")
    assert len(rows) == 50


def test_a_file_that_is_cut_is_named(folder: Path) -> None:
    once()
    (file,) = folder.glob(f"*/{FILE}")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StorageError, match=r"cannot keep token rows in .*; delete that folder"):
        once()


def test_a_home_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match="set PERFT_HOME to a folder that can be written"):
        once()


def test_no_examples() -> None:
    rows = cached_rows((), "print", lambda: tokenize((), PLAIN, 20, "answer"), kind="none")
    assert (len(rows), len(rows.ids)) == (0, 0)


STARTS_WITH_OTHERS = """
import sys, time
import numpy as np
from perft.tasks.token_files import cached_rows
from perft.tasks.tokenize import TokenizedSplit

def make():
    with open(sys.argv[1], "a") as made:
        made.write("made ")
    time.sleep(0.5)
    one = np.ones(1, dtype=np.int32)
    return TokenizedSplit(one, np.zeros(1, dtype=np.int64), one, one, 0)

print(cached_rows((), "print", make, kind="race").row(0))
"""


def test_processes_that_start_at_once_make_them_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS_WITH_OTHERS, str(tmp_path / "made")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0] * 3
    assert (tmp_path / "made").read_text() == "made "
    assert len(answers) == 1
