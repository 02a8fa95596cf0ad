"""The rules of the house that a tool can check: docstrings, file sizes, light imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
LIBRARY = sorted((REPOSITORY / "perft").rglob("*.py"))
OPEN_WITH_DOCSTRING = [
    *LIBRARY,
    *sorted(
        path
        for folder in ("search_spaces", "jobs", "benchmarks")
        for path in (REPOSITORY / folder).rglob("*.py")
    ),
]
# Thin trials, and commands that only read or write files, import these; torch in any of them
# would cost each process some 300 MB and seconds.
LIGHT = (
    "adapters.table", "config", "errors", "trial", "storage", "adapter_folder", "selection",
    "tracking", "export", "tasks",
    "search.space", "search.thin_trial",
)  # fmt: skip
MOST_LINES = 400


def relative(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", OPEN_WITH_DOCSTRING, ids=relative)
def test_module_opens_with_a_docstring(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{relative(path)} has no docstring"


@pytest.mark.parametrize("path", LIBRARY, ids=relative)
def test_module_stays_readable_in_one_sitting(path: Path):
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES, f"{relative(path)} has {lines} lines; split it"


def test_light_modules_do_not_import_torch():
    modules = [f"perft.{name}" for name in LIGHT]
    code = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, f'{name} imports torch'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
