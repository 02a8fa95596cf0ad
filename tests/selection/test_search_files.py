"""The files of a search: found by name, read back as written, damage named."""

import json
from pathlib import Path

import pytest

from perft.base_score import BaseScore
from perft.errors import DamagedError, SearchError, StorageError
from perft.searches import find_search
from perft.selection import (
    is_concluded,
    read_base,
    read_results,
    read_scores,
    result_line,
    write_base,
    write_results,
    write_scores,
)
from perft.storage import Storage
from pretend import BASE, SETTINGS, search_of_six, trial


@pytest.fixture
def search(tmp_path: Path) -> Storage:
    folder = Storage(str(tmp_path)).child("first")
    folder.write("search.json", json.dumps(SETTINGS).encode())
    return folder


def test_results_come_back_as_written(search: Storage):
    assert read_results(search) == []
    write_results(search, map(result_line, search_of_six()[::-1]))
    assert read_results(search) == search_of_six()
    write_results(search, map(result_line, [trial(0, val_loss=float("inf"), outcome="failed")]))
    assert read_results(search)[0].last.val_loss == float("inf")


def test_scores_come_back_as_written(search: Storage):
    assert read_scores(search, 3) == {}
    write_scores(search, {3: {"addsub": (12, 395)}, 1: {}})
    assert read_scores(search, 3) == {"addsub": (12, 395)}
    assert read_scores(search, 0) == {}


def test_the_score_of_the_base_comes_back_as_written(search: Storage):
    assert read_base(search) is None, "a search of an earlier version"
    for base in (BASE, BaseScore(objective="dpo", val_loss=0.7, is_tie=True)):
        write_base(search, base)
        assert read_base(search) == base


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "base.json is damaged"),
        ('{"objective": "sft"}', "val_loss is missing"),
        ('{"objective": "sft", "val_loss": NaN}', "val_loss"),
        ('{"objective": "sft", "val_loss": 1, "validation": [2, 1]}', "validation must be"),
        ('{"objective": "sft", "val_loss": 1, "tests": {"a": [1]}}', "tests.a must be"),
    ],
)
def test_a_damaged_score_of_the_base_is_named(search: Storage, text: str, words: str):
    search.write("base.json", text.encode())
    with pytest.raises(DamagedError, match=words):
        read_base(search)


def test_a_search_is_concluded_when_all_that_it_makes_is_there(search: Storage):
    lines = [result_line(trial) for trial in search_of_six()]
    assert not is_concluded(search, 6)
    write_scores(search, {3: {"addsub": (12, 395)}})
    assert not is_concluded(search, 6), "there are no results"
    write_results(search, lines[:-1])
    assert not is_concluded(search, 6), "a trial has not ended"
    write_results(search, lines)
    assert is_concluded(search, 6)
    for name, content in {"scores.json": b"{}", "results.json": b"{"}.items():
        before = search.read(name)
        search.write(name, content)
        assert not is_concluded(search, 6), name
        search.write(name, before)
    write_scores(search, {17: {}})
    assert not is_concluded(search, 6), "the trial with the scores is not there"


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"7", b'{"3": 7}', b'{"x": {}}', b'{"3": {"a": 1}}']
)
def test_damaged_scores_are_named(search: Storage, content: bytes):
    search.write("scores.json", content)
    with pytest.raises(DamagedError, match=r"scores\.json is damaged"):
        read_scores(search, 3)


def test_search_is_found_by_name(search: Storage, tmp_path: Path):
    assert find_search("first", str(tmp_path)).uri == search.uri


def test_an_unknown_search_names_the_nearest(search: Storage, tmp_path: Path):
    (tmp_path / "no-search").mkdir()
    with pytest.raises(SearchError, match=r"unknown search 'frist'; .*'first'\? \(known: first\)"):
        find_search("frist", str(tmp_path))
    with pytest.raises(SearchError, match=r"unknown search '\.\.'"):
        find_search("..", str(tmp_path))


def test_an_empty_storage_is_named(tmp_path: Path):
    with pytest.raises(SearchError, match=r"nothing holds no search at all.*--storage"):
        find_search("first", str(tmp_path / "nothing"))


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"trials": [{}]}'])
def test_damage_is_named(search: Storage, content: bytes):
    search.write("results.json", content)
    with pytest.raises(StorageError, match=r"results\.json"):
        read_results(search)
