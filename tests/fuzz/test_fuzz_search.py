"""The files of a search with something wrong: read and used as commands use them, or refused."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults import breaks, cases
from rich.console import Console
from verdict import Verdicts, refusal

from perft.errors import PerftError
from perft.export.card import model_card
from perft.export.score import Score
from perft.screen import print_table
from perft.searching.settings import SearchSettings
from perft.selection import (
    describe,
    front_table,
    pareto_front,
    pick,
    read_all_scores,
    read_results,
    remarks,
    to_frame,
    why_no_front,
    wilson,
)
from perft.selection.files import result_files
from perft.storage import Storage
from perft.trial import TrialResult
from pretend import SETTINGS, trial

FAST = 300
PICKED = trial(1)


def use_settings(search: Storage) -> None:
    settings = SearchSettings.read(search)
    settings.to_json()
    model_card(PICKED, settings.to_json(), [])


def use_results(search: Storage) -> None:
    results = read_results(search)
    if not pareto_front(results):
        why_no_front(results)
        return
    print_table(Console(file=io.StringIO(), width=40, markup=False), front_table(results))
    remarks(results)
    frame = to_frame(results)
    frame.to_csv()
    json.loads(frame.to_json(orient="records"))
    for how in ("best", "knee"):
        chosen = pick(results, how)
        describe(chosen.config)
        model_card(chosen, SETTINGS, [])
        json.dumps(chosen.to_json(), allow_nan=False)


def use_scores(search: Storage) -> None:
    for splits in read_all_scores(search).values():
        found = []
        for split, (correct, scored) in splits.items():
            low, high = wilson(correct, scored)
            found.append(Score(split=split, correct=correct, scored=scored, low=low, high=high))
        model_card(PICKED, SETTINGS, found)


def documents() -> dict[str, tuple[Any, Callable[[Storage], None]]]:
    results: list[TrialResult] = [trial(1), trial(2, outcome="failed")]
    return {
        "search.json": (SearchSettings(**SETTINGS | {"rungs": (50, 200)}).to_json(), use_settings),
        "results.json": ({"trials": [result.to_json() for result in results]}, use_results),
        "scores.json": ({"1": {"addsub": [12, 395]}}, use_scores),
    }


NAMES = sorted(documents())


@pytest.fixture
def search(tmp_path: Path) -> Storage:
    storage = Storage(str(tmp_path)).child("first")
    for name, (document, _) in documents().items():
        storage.write(name, json.dumps(document).encode())
    return storage


def test_the_whole_ones_are_read(search: Storage) -> None:
    for name, (_, use) in documents().items():
        assert refusal(lambda use=use: use(search)) == "", name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [FAST, pytest.param(None, marks=pytest.mark.slow)])
def test_no_field_of_a_file_is_taken_for_what_it_is_not(
    search: Storage, name: str, count: int | None
) -> None:
    document, use = documents()[name]
    verdicts = Verdicts()
    for case in cases(json.loads(json.dumps(document)), 0, count):
        (Path(search.uri) / name).write_text(case.text)
        option = case.field.replace("_", "-")
        verdicts.judge(
            f"{name}: {case.what}", lambda: use(search), name, f"{case.field}|--{option}"
        )
    verdicts.conclude(least=40)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("how", sorted(breaks()))
def test_a_broken_file_is_refused(search: Storage, name: str, how: str) -> None:
    breaks()[how](Path(search.uri) / name)
    said = refusal(lambda: documents()[name][1](search))
    may_be_missing = name != "search.json" and how in ("missing", "dangling", "loop")
    assert name in said or may_be_missing or how == "unreadable"


def test_what_is_drawn_of_the_results_of_another_is_drawn_of_any(search: Storage) -> None:
    """Files are drawn of whatever can be read: extreme values of every number among them."""
    plain = trial(1).to_json()
    for field, value in (("val_loss", 1e308), ("val_loss", 0), ("lr", -1e300), ("lr", 5)):
        changed = json.loads(json.dumps(plain))
        changed["reports"][-1][field] = value
        search.write("results.json", json.dumps({"trials": [changed]}).encode())
        try:
            results = read_results(search)
        except PerftError:
            continue
        assert result_files(results, "$\\frac$")
