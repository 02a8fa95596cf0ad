"""Nothing outside the variants' room knows a variant: what it needs to know it asks the table."""

import ast
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import perft
import perft.config
from perft import adapters
from perft.adapters.config import AdapterConfig
from perft.adapters.forms import FORMS, ExpertForm
from perft.adapters.table import TABLE, VARIANTS, variant_of
from perft.config import fields_of

REPOSITORY = Path(__file__).parents[2]
ROOM = Path(inspect.getfile(adapters)).parent
OUTSIDE = sorted(path for path in (REPOSITORY / "perft").rglob("*.py") if ROOM not in path.parents)
DOOR = REPOSITORY / "perft" / "config" / "__init__.py"  # where users take configurations from
NAMES = {*VARIANTS, *(set(FORMS) - {"lora"})}  # "lora" is an initialisation, too
CLASSES = {
    kind.__name__
    for variant in TABLE.values()
    for kind in variant.config.__mro__
    if kind not in (object, AdapterConfig)
}


def told_apart(tree: ast.AST) -> Iterator[str]:
    """Configurations by type, and variants by name, wherever a module tells them apart."""
    for node in ast.walk(tree):
        names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        called = (
            node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        )
        if called in ("isinstance", "issubclass") and names & CLASSES:
            yield f"line {node.lineno}: {called} over {names & CLASSES}"
        if isinstance(node, ast.MatchClass | ast.ImportFrom | ast.Attribute):
            found = {node.attr} if isinstance(node, ast.Attribute) else names
            found |= {a.name for a in node.names} if isinstance(node, ast.ImportFrom) else set()
            if found & CLASSES:
                yield f"line {node.lineno}: takes {found & CLASSES}"
        if isinstance(node, ast.Constant) and node.value in NAMES:
            yield f"line {node.lineno}: names {node.value}"


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(config, RoutedConfig)",
        "isinstance(config, perft.config.LoraQVConfig | int)",
        "from perft.config import SingleConfig",
        'config.variant == "perft-e"',
        'match config.variant:\n    case "lora-qv": pass',
        "match config:\n    case DenseConfig(): pass",
    ],
)
def test_what_is_looked_for_is_found(code: str) -> None:
    assert list(told_apart(ast.parse(code)))


def test_nothing_outside_the_room_tells_variants_apart() -> None:
    asked = [path for path in OUTSIDE if path != DOOR]
    assert len(asked) > 150
    found = {path: list(told_apart(ast.parse(path.read_text()))) for path in asked}
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_declares_what_it_is(name: str) -> None:
    variant = TABLE[name]
    assert variant.name == name == variant.config.variant
    assert variant_of(variant.example) is variant
    assert variant.example.rank == 1
    assert variant.config.__name__ in perft.config.__all__
    assert getattr(perft, variant.config.__name__) is variant.config
    assert fields_of(name) == set(variant.example.to_flat()) - {"variant"}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_s_mathematics_are_a_module_of_its_room(name: str) -> None:
    mathematics = import_module(TABLE[name].mathematics)
    assert ROOM in Path(inspect.getfile(mathematics)).parents
    takes = {"moe block": "apply", "attention": "apply", "router": "merge", "base experts": "merge"}
    assert callable(getattr(mathematics, takes[TABLE[name].attach]))
    assert inspect.getdoc(mathematics)


def test_no_two_variants_are_called_the_same() -> None:
    assert len({variant.label for variant in TABLE.values()}) == len(TABLE)
    assert len({variant.config for variant in TABLE.values()}) == len(TABLE)


def test_forms_are_those_that_a_type_checker_knows() -> None:
    assert ExpertForm.__args__ == tuple(FORMS)
    assert all(callable(import_module(form.mathematics).products) for form in FORMS.values())
