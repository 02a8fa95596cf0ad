"""A search has nothing left to do only when its folders are whole, too."""

import dataclasses
import json
from pathlib import Path

import pytest

from perft.searching.concluded import has_nothing_left, known_base
from perft.searching.settings import SearchSettings
from perft.searching.steering.budget import Budget
from perft.searching.steering.event_log import EventLog, send
from perft.searching.steering.events import Moment, SetBudget, SetNumTrials
from perft.selection import result_line, write_base, write_results, write_scores
from perft.storage import Storage, write_folder
from pretend import BASE, SETTINGS, adapter_files, search_of_six


@pytest.fixture
def search(tmp_path: Path) -> Storage:
    """The folder of a search that has ended."""
    search = Storage(str(tmp_path))
    search.write("search.json", json.dumps(SETTINGS).encode())
    results = search_of_six()
    write_results(search, map(result_line, results))
    complete = [result.number for result in results if result.outcome == "complete"]
    for number in complete:
        write_folder(search, f"adapters/{number:04d}", adapter_files(number))
    write_folder(search, f"predictions/{complete[0]:04d}", {"rank-0.parquet": b"rows"})
    write_scores(search, {complete[0]: {"test": (1, 2)}})
    return search


def test_a_whole_search_has_nothing_left(search: Storage):
    assert has_nothing_left(search, SearchSettings.read(search))


@pytest.mark.parametrize("folder", ["adapters", "predictions"])
def test_damage_is_to_be_mended(search: Storage, folder: str):
    (first, *_) = search.names(folder)
    for name in search.names(f"{folder}/{first}"):
        before = search.read(f"{folder}/{first}/{name}")
        search.write(f"{folder}/{first}/{name}", before[:-1])
        assert not has_nothing_left(search, SearchSettings.read(search)), name
        search.write(f"{folder}/{first}/{name}", before)
    assert has_nothing_left(search, SearchSettings.read(search))
    search.delete(f"{folder}/{first}")
    assert not has_nothing_left(search, SearchSettings.read(search))


def test_the_base_is_scored_once(search: Storage):
    assert known_base(search, "sft") is None
    assert has_nothing_left(search, SearchSettings.read(search)), (
        "a search of an earlier version has no score of its base"
    )
    write_base(search, BASE)
    assert known_base(search, "sft") is None, "its predictions are not there"
    assert not has_nothing_left(search, SearchSettings.read(search))
    write_folder(search, "predictions/base", {"rank-0.parquet": b"rows"})
    assert known_base(search, "sft") == BASE
    assert known_base(search, "dpo") is None, "its loss is of another objective"
    assert has_nothing_left(search, SearchSettings.read(search))
    search.write("base.json", b"{")
    assert known_base(search, "sft") is None
    assert not has_nothing_left(search, SearchSettings.read(search))


@pytest.mark.parametrize("name", ["scores.json", "results.json"])
def test_without_results_or_scores_there_is_something_left(search: Storage, name: str):
    search.delete(name)
    assert not has_nothing_left(search, SearchSettings.read(search))


def test_a_command_that_waits_is_something_left(search: Storage):
    settings = SearchSettings.read(search)
    send(search, SetNumTrials(count=9))
    assert not has_nothing_left(search, settings)
    EventLog(search, 0, print).due(Moment(0, is_running=False))
    assert not has_nothing_left(search, settings), "it has six"


def test_a_search_that_its_budget_has_ended_has_nothing_left(search: Storage):
    settings = SearchSettings.read(search)
    bounded = dataclasses.replace(settings, num_trials=None, budget=Budget(max_hours=1))
    assert has_nothing_left(search, bounded)
    more = dataclasses.replace(settings, num_trials=50)
    assert not has_nothing_left(search, more)
    send(search, SetBudget(budget=Budget(max_steps_total=9999)))
    EventLog(search, 0, print).due(Moment(0, is_running=False))
    assert has_nothing_left(search, more)
