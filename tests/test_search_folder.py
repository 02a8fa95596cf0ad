"""Each name of a search's folder and of an adapter's is spelt once, and the docstrings show all."""

import ast
import functools
import re
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perft import adapter_folder, search_folder
from perft.search_folder import (
    SEARCH_RECORD,
    SENT,
    failure_file,
    is_record,
    trial_file,
    trial_of,
    trial_record,
)

PERFT = Path(search_folder.__file__).parent
FILE_NAME = re.compile(r"[\w.-]+\.[a-z]+")
NAMESAKES = {
    ("commands/evaluate.py", "results.json"),  # of the folder of `--out`
    ("models/pretrain/folder.py", "README.md"),  # of the folder of a base
}
"""Files of other folders that happen to have a name of these."""


def names_of(module: ModuleType) -> set[str]:
    """The names of files and folders that a module spells."""
    values = [value for name, value in vars(module).items() if name[0].isupper()]
    return {value for value in values if isinstance(value, str)} - {adapter_folder.PERFT}


FILES = {name for name in names_of(search_folder) if FILE_NAME.fullmatch(name)}
FOLDERS = {name for name in names_of(search_folder) if name.isalpha()}
FILES_OF_ADAPTERS = names_of(adapter_folder)


@functools.cache
def constants(file: Path) -> tuple[str, ...]:
    """The strings of a module, those inside f-strings too, without docstrings."""
    tree = ast.parse(file.read_text())
    lone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    return tuple(n.value for n in found if isinstance(n.value, str) and id(n) not in lone)


def spelt(module: ModuleType, names: set[str], folders: set[str]) -> set[tuple[str, str]]:
    """Where else in perft one of these names is spelt: the file, and the string."""
    found = set()
    for file in PERFT.rglob("*.py"):
        if str(file) != module.__file__:
            for text in constants(file):
                parts = text.split("/")
                if names & set(parts) or (len(parts) > 1 and parts[0] in folders):
                    found.add((str(file.relative_to(PERFT)), text))
    return found


def test_no_name_of_a_searchs_folder_is_spelt_elsewhere() -> None:
    assert {"search.json", "scores.json", "optuna.journal", "pareto.png"} < FILES
    assert {
        "lock",
        "commands",
        "trials",
        "adapters",
        "predictions",
        "records",
        "tune",
        "train",
        "tracked",
        "batches",
    } == FOLDERS
    # Of an own task's files "train" may be a folder, and of the world that is asked about a word.
    own = FOLDERS - {"train"}
    assert spelt(search_folder, FILES, own) <= NAMESAKES


def test_no_name_of_an_adapters_folder_is_spelt_elsewhere() -> None:
    assert {"adapter_config.json", "adapter_model.safetensors", "trial.json"} < FILES_OF_ADAPTERS
    assert spelt(adapter_folder, FILES_OF_ADAPTERS, set()) <= NAMESAKES


def test_the_namesakes_are_there() -> None:
    spellings = spelt(search_folder, FILES, set()) | spelt(adapter_folder, FILES_OF_ADAPTERS, set())
    assert spellings >= NAMESAKES


@pytest.mark.parametrize("name", sorted(FILES | FOLDERS | {SEARCH_RECORD, SENT}))
def test_the_tree_shows_every_name(name: str) -> None:
    tree = search_folder.__doc__
    assert tree is not None
    stem, dot, suffix = name.rpartition(".")
    assert name in tree or (stem in tree and f" {dot}{suffix} " in tree)


@pytest.mark.parametrize("name", sorted(FILES_OF_ADAPTERS))
def test_the_tree_of_an_adapter_shows_every_name(name: str) -> None:
    assert name in str(adapter_folder.__doc__)


@given(st.integers(0, 10**9), st.sampled_from([0, 1]))
def test_a_trial_is_read_from_the_names_of_its_files(trial: int, turn: int) -> None:
    for path in (trial_file(trial, turn), failure_file(trial)):
        folder, _, name = path.rpartition("/")
        assert folder == search_folder.STATES
        assert trial_of(name) == trial


@pytest.mark.parametrize("name", ["7.safetensors", "0007", "0007.json", "0007.other", "x.failed"])
def test_other_names_are_of_no_trial(name: str) -> None:
    assert trial_of(name) is None


@given(st.integers(0, 10**9))
def test_records_are_told_from_what_lies_beside_them(trial: int) -> None:
    assert is_record(trial_record(trial).rpartition("/")[2])
    assert is_record(SEARCH_RECORD.rpartition("/")[2])
    assert not is_record(SENT.rpartition("/")[2])
