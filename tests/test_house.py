"""The rules of the house that a tool can check: docstrings, file sizes, light imports."""

import ast
import re
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
    "searching.space", "searching.tune.thin_trial",
)  # fmt: skip
MAX_LINES = 400
MAX_ANY = 0.04
"""Share of annotations that may mention `Any`."""


def relative(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", OPEN_WITH_DOCSTRING, ids=relative)
def test_module_opens_with_a_docstring(path: Path):
    assert ast.get_docstring(ast.parse(path.read_text())), f"{relative(path)} has no docstring"


@pytest.mark.parametrize("path", LIBRARY, ids=relative)
def test_module_stays_readable_in_one_sitting(path: Path):
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{relative(path)} has {lines} lines; split it"


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


def annotations(tree: ast.AST) -> list[ast.expr]:
    """Those of all parameters, returns and variables."""
    found: list[ast.expr | None] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            parameters = [*given.posonlyargs, *given.args, given.vararg]
            parameters += [*given.kwonlyargs, given.kwarg]
            found += [each.annotation for each in parameters if each is not None]
            found.append(node.returns)
        elif isinstance(node, ast.AnnAssign):
            found.append(node.annotation)
    return [each for each in found if each is not None]


def mentions_any(annotation: ast.expr) -> bool:
    for node in ast.walk(annotation):
        if isinstance(node, ast.Name) and node.id == "Any":
            return True
        if isinstance(node, ast.Constant) and re.search(r"\bAny\b", str(node.value)):
            return True
    return False


def test_what_a_type_can_say_is_said():
    found = {path: annotations(ast.parse(path.read_text())) for path in LIBRARY}
    untyped = {path: sum(map(mentions_any, each)) for path, each in found.items()}
    share = sum(untyped.values()) / sum(map(len, found.values()))
    most = sorted(untyped, key=lambda path: -untyped[path])[:5]
    assert share < MAX_ANY, f"{share:.1%} mention Any; most in {[relative(p) for p in most]}"
    assert mentions_any(ast.parse("Callable[..., 'list[Any]']", mode="eval").body)
