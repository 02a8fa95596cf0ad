"""A space as an object is as good as one in a file: searched, kept, compared when it resumes."""

import sys
from pathlib import Path
from typing import Any

import pytest

from cells import run_cell
from perft import SearchSpace
from perft.errors import ConfigError, SearchError
from perft.searching.given_space import given_space
from perft.searching.interrupt import interrupted
from perft.searching.prepare import SearchPlan, SearchRequest, prepare
from perft.searching.resume import prepare_resume
from perft.searching.settings import OBJECT
from perft.searching.space import find_space

CELL = """
import dataclasses
from perft import SearchSpace, SingleConfig, TrainingConfig, TrialConfig

RANKS = (2, 4)

def training(builtin):
    return TrainingConfig(lr=1e-3, max_steps=8, warmup_steps=1)

def suggest(trial, builtin):
    rank = trial.suggest_categorical("rank", RANKS)
    return TrialConfig(SingleConfig(rank=rank), training(builtin))

space = SearchSpace(task="arithmetic", training=training, suggest=suggest, num_trials=3)
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERFT_HOME", str(tmp_path / "home"))


def space_of(cell: str = CELL) -> SearchSpace:
    found = run_cell(cell)["space"]
    assert isinstance(found, SearchSpace)
    return found


def begin(space: str | SearchSpace, **options: Any) -> SearchPlan:
    plan = prepare(SearchRequest(space=space, validation_size=20, **options))
    plan.settings.write(plan.search)
    return plan


def test_an_object_is_drawn_from_and_its_code_kept() -> None:
    plan = begin(space_of())
    assert plan.settings.space == OBJECT
    assert plan.settings.name.startswith("arithmetic-")
    assert plan.settings.num_trials == 3
    again: dict[str, Any] = {}
    exec(plan.given.text().decode(), again)
    assert again["RANKS"] == (2, 4)
    assert again["training"](True) == plan.draw.space.training(True)
    assert plan.given.unknown == []


def test_it_resumes_where_its_program_gives_it_again() -> None:
    plan = begin(space_of(), name="mine")
    again = prepare_resume("mine", space=space_of(f"# a comment\n{CELL}"))
    assert again.settings == plan.settings
    assert again.given.text() == plan.given.text()
    with pytest.raises(SearchError, match=r"resume it there: perft\.search\(space, resume='mine'"):
        prepare_resume("mine")
    assert "perft.search(space, resume='mine')" in str(interrupted(plan.search, plan.settings))


@pytest.mark.parametrize("change", [("(2, 4)", "(2, 8)"), ("lr=1e-3", "lr=1e-2")])
def test_another_object_is_refused(change: tuple[str, str]) -> None:
    begin(space_of(), name="mine")
    with pytest.raises(SearchError, match="the space of search 'mine' has changed"):
        prepare_resume("mine", space=space_of(CELL.replace(*change)))


def test_what_is_tried_first_belongs_to_the_space() -> None:
    begin(space_of(), name="mine")
    cell = CELL.replace("num_trials=3", 'num_trials=3, points=[{"rank": 2}]')
    with pytest.raises(SearchError, match="the space of search 'mine' has changed"):
        prepare_resume("mine", space=space_of(cell))


def test_an_object_of_a_module_is_that_module() -> None:
    space = find_space("arithmetic")
    assert given_space(space) == given_space("arithmetic")
    plan = begin(space, name="mine")
    assert plan.settings.space == "arithmetic"
    assert (
        prepare_resume("mine").settings
        == plan.settings
        == prepare_resume("mine", space=space).settings
    )


def test_an_object_of_a_file_is_that_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{CELL}\nSPACE = space\n"
    (tmp_path / "space_of_mine.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    import space_of_mine  # type: ignore[import-not-found]

    plan = begin(space_of_mine.SPACE, name="mine")
    assert plan.settings.space == str(tmp_path / "space_of_mine.py")
    assert plan.given.text().decode() == text
    assert prepare_resume("mine").settings == plan.settings
    monkeypatch.delitem(sys.modules, "space_of_mine")


def test_no_file_has_the_name_of_an_object() -> None:
    with pytest.raises(ConfigError, match="the space of the search was an object of a program"):
        given_space(OBJECT)


def test_a_task_of_a_cell_reaches_other_processes(tmp_path: Path) -> None:
    rows = "\n".join(f'{{"n": "{n}", "next": "{n + 1}"}}' for n in range(40))
    (tmp_path / "rows.jsonl").write_text(rows)
    cell = """
from perft import OwnTask

def judge(text, label):
    return text.strip() == label

task = OwnTask(name="next", train=ROWS, prompt="After {n}:", answer="next", scorer=judge)
"""
    task = run_cell(cell, ROWS=str(tmp_path / "rows.jsonl"))["task"]
    space = run_cell(CELL.replace('"arithmetic"', "task"), task=task)["space"]
    plan = begin(space)
    assert plan.settings.name.startswith("next-")
    assert plan.source.own is not None
    file, name = plan.source.own["scorer"]
    assert (Path(file).parent.name, name) == ("code", "judge")
    assert prepare_resume(plan.settings.name, space=space).source == plan.source
