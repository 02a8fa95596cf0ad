"""What the documents name is there: files, links, commands of make, modules and their names."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
FOLDERS = ("perft", "tests", "docs", "jobs", "benchmarks", "search_spaces", ".ci")
EXAMPLES = {"perft/searching/patience.py"}  # of what a reader would write

LINK = re.compile(r"\]\((?!https?:|#)([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*-]*[\w/*]")
MAKE = re.compile(r"\bmake ([a-z]+(?:-[a-z]+)*)")
DOTTED = re.compile(r"`(perft(?!\.json)(?:\.\w+)+)(?:\(.*?\))?`")
NAME = re.compile(r"`(_?[A-Za-z]\w*(?:\.(?!json|py`)\w+)?)`")
CODE = re.compile(r"^ {4}[^\n]*|^ *```.*?^ *```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
TARGETS = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))

each = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def code_of(document: Path) -> str:
    """What stands in backticks, in fences, or is indented: there `make` is a command."""
    return "\n".join(found.group() for found in CODE.finditer(document.read_text()))


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def is_there(path: str) -> bool:
    if "*" in path:
        return any(REPOSITORY.glob(path))
    return (REPOSITORY / path).exists()


@cache
def names_in(file: Path) -> dict[str, ast.AST]:
    """What a module defines or imports, by name."""
    return names_of(ast.parse(file.read_text()))


def names_of(tree: ast.Module | ast.ClassDef) -> dict[str, ast.AST]:
    """What the body of a module or class defines; of a module, what is under `if` as well."""
    found: dict[str, ast.AST] = {}
    for node in ast.walk(tree) if isinstance(tree, ast.Module) else tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.setdefault(node.name, node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name: node for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {t.id: node for t in targets if isinstance(t, ast.Name)}
    return found


def resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or something that a module or one of its classes has."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        place = REPOSITORY.joinpath(*parts[:length])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return has(file, parts[length:])
        if place.is_dir():
            return length == len(parts)
    return False


def has(file: Path, names: list[str]) -> bool:
    if not names:
        return True
    found = names_in(file).get(names[0])
    if found is None:  # `from ... import *` of the variants' table
        table = REPOSITORY / "perft" / "adapters" / "table.py"
        return "import *" in file.read_text() and names[0] in names_in(table)
    if len(names) == 1:
        return True
    return isinstance(found, ast.ClassDef) and names[1] in names_of(found)


def missing_in(text: str, code: str, folder: Path) -> Iterator[str]:
    """What a document names that is not there."""
    for link in LINK.findall(text):
        path, _, anchor = link.partition("#")
        target = folder / path
        if not target.exists():
            yield f"the link {link}"
        elif anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            if anchor not in map(slug, headings):
                yield f"the heading of {link}"
    paths = PATH.findall(LINK.sub("]", text))
    yield from (p for p in paths if p not in EXAMPLES and not is_there(p))
    yield from (f"make {name}" for name in MAKE.findall(code) if name not in TARGETS)
    yield from (name for name in DOTTED.findall(text) if not resolves(name))


@each
def test_what_a_document_names_is_there(document: Path) -> None:
    assert list(missing_in(document.read_text(), code_of(document), document.parent)) == []


def test_what_is_missing_is_found() -> None:
    text = (
        "[a](docs/none.md) [b](README.md#no-such-part) `perft/none.py` `perft.trial.None` "
        "`perft.searching.run.run_searches()` `perft.training.pack.Pack.none` `make none`\n"
        "[c](README.md#two-commands) `perft/trial.py` `tests/**/test_*.py` `perft.RoutedConfig` "
        "`perft.training.pack.Pack.admit()` `perft.searching` `make test-marked` to make sure"
    )
    code = "\n".join(re.findall("`[^`]+`", text))
    assert list(missing_in(text, code, REPOSITORY)) == [
        "the link docs/none.md", "the heading of README.md#no-such-part", "perft/none.py",
        "make none", "perft.trial.None", "perft.searching.run.run_searches",
        "perft.training.pack.Pack.none",
    ]  # fmt: skip


def shown_lines(document: Path) -> Iterator[str]:
    """Lines of Python that a document shows as this project's, and those that its diffs add."""
    for kind, block in re.findall(r"```(python|diff)\n(.*?)```", document.read_text(), re.DOTALL):
        for line in block.splitlines():
            if kind == "python" or line.startswith("+"):
                yield line.removeprefix("+").strip()


def test_the_examples_of_contributing_are_what_is_there() -> None:
    files = (path for name in ("perft", "tests") for path in (REPOSITORY / name).rglob("*.py"))
    there = {line.strip() for path in files for line in path.read_text().splitlines()}
    shown = list(shown_lines(REPOSITORY / "CONTRIBUTING.md"))
    assert len(shown) > 100
    assert [line for line in shown if "..." not in line and line not in there] == []


def test_the_walks_name_what_the_files_of_their_rows_have() -> None:
    missing, count = [], 0
    for row in re.findall(r"^\| \d+ \|.*$", (REPOSITORY / "ARCHITECTURE.md").read_text(), re.M):
        files = [REPOSITORY / path for path in PATH.findall(row) if path.endswith(".py")]
        for name in NAME.findall(row.split("|")[3]):
            count += 1
            if not any(has(file, name.split(".")) for file in files):
                missing.append(f"{name}: {row}")
    assert count > 60
    assert missing == []


@each
def test_every_document_is_found_from_the_readme(document: Path) -> None:
    readme = REPOSITORY / "README.md"
    links = LINK.findall(readme.read_text())
    linked = {(REPOSITORY / link.partition("#")[0]).resolve() for link in links}
    assert document.resolve() in {readme, *linked}
