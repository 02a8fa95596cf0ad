"""A search's space is known by its own code and by that of the user's modules that it imports."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perft.modules import load_module, owner_of
from perft.searching.space import space_module
from perft.searching.space_code import SPACE, space_code

SPACE_FILE = """
import json, sys
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))
import optuna
import helper
from mine.rates import LOWEST
import importlib; later = importlib.import_module("later")
from perft.searching.space import SearchSpace
"""
FILES = {
    "helper.py": "import deeper\n",
    "deeper.py": "import space\n",  # in a circle
    "later.py": "",
    "mine/__init__.py": "from . import ranks\n",
    "mine/rates.py": "LOWEST = 1e-4\n",
    "mine/ranks.py": "",
    "unused.py": "",
}
MODULES = {"helper", "deeper", "later", "mine", "mine.rates", "mine.ranks"}


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Path]:
    for name, text in {"space.py": SPACE_FILE, **FILES}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    path = list(sys.path)
    yield tmp_path / "space.py"
    sys.path[:] = path
    for name in [*MODULES, "space"]:
        sys.modules.pop(name, None)


def code(space: Path) -> dict[str, str]:
    return space_code(load_module(space))


def test_what_the_space_imports_counts_and_libraries_do_not(space: Path) -> None:
    assert code(space).keys() == {SPACE, "space", *MODULES}


@pytest.mark.parametrize("changed", ["space.py", "deeper.py", "mine/ranks.py", "later.py"])
def test_a_change_of_any_of_them_is_seen(changed: str, space: Path) -> None:
    before = code(space)
    file = space.with_name(changed) if "/" not in changed else space.parent / changed
    file.write_text(file.read_text() + "# changed\n")
    (space.parent / "unused.py").write_text("x = 1\n")
    after = code(space)
    differing = {name for name in before if before[name] != after[name]}
    stem = changed.removesuffix(".py").replace("/", ".")
    assert differing == ({SPACE, "space"} if stem == "space" else {stem})


def test_a_space_that_has_moved_is_the_same(space: Path, tmp_path: Path) -> None:
    before = code(space)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("mine", "space.py", *(file for file in FILES if "/" not in file)):
        (tmp_path / name).rename(moved / name)
    for name in [*MODULES, "space"]:
        sys.modules.pop(name, None)
    sys.path.remove(str(tmp_path))
    assert code((moved / "space.py").rename(moved / "space.py")) == before


def test_spaces_of_perft_are_known_by_their_code_too() -> None:
    assert code_of("arithmetic").keys() == {SPACE, "search_spaces"}
    assert code_of("design_space").keys() == {SPACE, "search_spaces", "search_spaces.arithmetic"}
    assert code_of("arithmetic")[SPACE] == code_of("design_space")["search_spaces.arithmetic"]


def code_of(name: str) -> dict[str, str]:
    return space_code(space_module(name))


def test_whose_code_a_file_holds() -> None:
    owners = {name: owner_of(str(importlib.import_module(name).__file__)) for name in OWNERS}
    assert owners == OWNERS
    assert owner_of("<frozen importlib._bootstrap>") == "python"
    assert owner_of(__file__) == "user"


OWNERS = {"perft.trial": "perft", "json": "python", "optuna": "library", "numpy": "library"}
