"""Hashes of the code that draws a search's trials: its space and the user modules it imports."""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from perft.modules import owner_of

SPACE = "<space>"
"""The name of the space itself, whose file may be moved."""


def space_code(space: ModuleType) -> dict[str, str]:
    """SHA-256 of each file in hexadecimal, by the name of its module; the space's under `SPACE`.

    Includes the space and the modules that it imports, directly or not, except those of Python, of
    installed packages and of perft. Modules imported only when a trial is drawn are included once
    one has been drawn.
    """
    found: dict[str, str] = {}
    left = [space]
    while left:
        module = left.pop()
        name = SPACE if module is space else module.__name__
        if name in found or not _is_of_user(module, space):
            continue
        text = Path(str(module.__file__)).read_bytes()
        found[name] = hashlib.sha256(text).hexdigest()
        left += _imported(module, text)
    return dict(sorted(found.items()))


def _is_of_user(module: ModuleType, space: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    if not (isinstance(file, str) and file.endswith(".py") and Path(file).is_file()):
        return False
    # Spaces of an installed package, such as perft's own, import each other.
    is_beside = module.__name__.partition(".")[0] == space.__name__.partition(".")[0]
    return is_beside or owner_of(file) == "user"


def _imported(module: ModuleType, text: bytes) -> Iterator[ModuleType]:
    """Modules that the text imports, and those in which its module's values are defined."""
    values = list(vars(module).values())
    # A package's attributes include its submodules that any module has imported.
    own = f"{module.__name__}."
    modules = (value for value in values if isinstance(value, ModuleType))
    yield from (value for value in modules if not value.__name__.startswith(own))
    origins = (getattr(value, "__module__", None) for value in values)
    names = {origin for origin in origins if isinstance(origin, str)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (module.__package__ or not node.level):
            relative = "." * node.level + (node.module or "")
            origin = importlib.util.resolve_name(relative, module.__package__ or None)
            names |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
    names.add(module.__name__.rpartition(".")[0])  # its package, which runs before it
    yield from filter(None, map(sys.modules.get, names))
