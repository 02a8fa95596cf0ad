"""Functions defined in a notebook or a script, as a text that defines them anywhere else.

Other processes cannot import such a function, and a search's folder has no file to keep. `Source`
collects what it needs: functions beside it by their source, what is imported by its import, and
plain values as they are written.
"""

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from perft.errors import ConfigError
from perft.home import home, write_best_effort
from perft.modules import owner_of


class Source:
    """The text that defines some functions, in order of definition.

    Args:
        functions: by the name that the text gives them.

    Attributes:
        modules: the user's own modules that the text imports.
        unknown: what the text cannot define: a function without a source, a value that cannot be
            written; each with its type.
    """

    def __init__(self, functions: Mapping[str, object]) -> None:
        self._parts: dict[str, str] = {}
        self._values: dict[str, object] = {}
        self.modules: list[ModuleType] = []
        self.unknown: list[str] = []
        for name, function in functions.items():
            self._define(name, function)

    @property
    def text(self) -> str:
        """Imports first, then values and functions, each below what it needs."""
        parts = sorted(self._parts.values(), key=lambda part: not _is_import(part))
        return "\n".join(part for part in parts if part)

    def _define(self, name: str, value: object) -> None:
        if name in self._parts:
            if self._values[name] is not value:
                self._unknown(name, value)  # the text has one of that name
            return
        self._parts[name] = ""  # a function may call itself
        self._values[name] = value
        text = self._imported(name, value)
        if text is None and isinstance(value, FunctionType | type):
            text = self._written(name, value)
        elif text is None:
            expression = self._expression(value)
            text = f"{name} = {expression}" if expression else self._unknown(name, value)
        del self._parts[name]  # below what it needs
        self._parts[name] = text

    def _imported(self, name: str, value: object) -> str | None:
        """The import of a module, or of what one defines; None if nothing can be imported."""
        if isinstance(value, ModuleType):
            self._note(value)
            return f"import {_as(value.__name__, name)}"
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        own = getattr(value, "__qualname__", "")
        if module is None or module.__name__ == "__main__" or not own.isidentifier():
            return None
        if getattr(module, own, None) is not value:
            return None
        self._note(module)
        return f"from {module.__name__} import {_as(own, name)}"

    def _note(self, module: ModuleType) -> None:
        file = getattr(module, "__file__", None)
        if file and owner_of(file) == "user" and module not in self.modules:
            self.modules.append(module)

    def _written(self, name: str, code: FunctionType | type) -> str:
        """The source of a function or class, after all that it names."""
        try:
            text = textwrap.dedent(inspect.getsource(code))
            tree = ast.parse(text)
        except (OSError, TypeError, SyntaxError):  # of exec, or a lambda amid other things
            return self._unknown(name, code)
        if not _defines(tree, code.__name__):  # exec within `python -c`, whose text Python keeps
            return self._unknown(name, code)
        known = _surroundings(code)
        named = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
        for other in dict.fromkeys(named):
            if other in known and known[other] is not code:
                self._define(other, known[other])
        own = code.__name__
        return text if own in (name, "<lambda>") else f"{text}\n{name} = {own}\n"

    def _expression(self, value: object) -> str | None:
        """Python for a value of plain data, configurations and functions; None for another one."""
        match value:
            case None | bool() | int() | float() | str() | bytes():
                return repr(value)
            case FunctionType() | type():
                self._define(value.__name__, value)
                return value.__name__
            case Path():
                self._define("Path", Path)
                return f"Path({str(value)!r})"
            case list() | tuple() | set() | dict():
                return self._container(value)
        if not is_dataclass(value):
            return None
        kind = type(value)
        found = {
            each.name: self._expression(getattr(value, each.name))
            for each in fields(value)
            if each.init
        }
        self._define(kind.__name__, kind)
        given = ", ".join(f"{name}={text}" for name, text in found.items())
        return None if None in found.values() else f"{kind.__name__}({given})"

    def _container(
        self, value: list[Any] | tuple[Any, ...] | set[Any] | dict[Any, Any]
    ) -> str | None:
        if isinstance(value, dict):
            keys = [self._expression(key) for key in value]
            values = [self._expression(each) for each in value.values()]
            pairs = ", ".join(f"{key}: {each}" for key, each in zip(keys, values, strict=True))
            return None if None in (*keys, *values) else f"{{{pairs}}}"
        found = [self._expression(each) for each in value]
        parts = [part for part in found if part is not None]
        if len(parts) < len(found):
            return None
        match value:
            case list():
                return f"[{', '.join(parts)}]"
            case tuple():  # a named one becomes a plain one
                return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        return f"{{{', '.join(sorted(parts))}}}" if parts else "set()"

    def _unknown(self, name: str, value: object) -> str:
        what = f"{name} ({type(value).__name__})"
        self.unknown.append(what)
        return f"# {what}: not to be written"


def _defines(tree: ast.Module, name: str) -> bool:
    """Whether a text is the definition of a function or class of that name, or has a lambda."""
    if name == "<lambda>":
        return any(isinstance(node, ast.Lambda) for node in ast.walk(tree))
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return any(isinstance(each, kinds) and each.name == name for each in tree.body)


def importable(function: Callable[..., object]) -> tuple[str, str]:
    """File and name by which every process of this machine can import a function.

    The source of one that a notebook or script defines is written to a file under `PERFT_HOME`,
    whose name follows from the text.

    Raises:
        ConfigError: if it needs something that no text can define.
    """
    name = function.__qualname__
    file = inspect.getsourcefile(function) or ""
    if function.__module__ != "__main__" and Path(file).is_file():
        return file, name
    source = Source({name: function})
    if source.unknown:
        raise ConfigError(
            f"{name}, defined in a notebook or script, needs {', '.join(source.unknown)}, which "
            "cannot be taken to the workers; define that inside the function, or write both into "
            "a module of their own and import it"
        )
    return str(_written_at_home(source)), name


def _written_at_home(source: Source) -> Path:
    """The file that holds a source, and finds the user's own modules that it imports."""
    folders = sorted({_folder_of(module) for module in source.modules})
    paths = [f"sys.path.append({folder!r})" for folder in folders]
    text = "\n".join(['"""Written by perft."""', *_lines_if(paths, "import sys"), source.text, ""])
    file = home() / "code" / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.py"
    if not file.is_file():
        write_best_effort(file, text)
    return file


def _lines_if(lines: list[str], before: str) -> Iterable[str]:
    return [before, *lines] if lines else []


def _folder_of(module: ModuleType) -> str:
    """The folder from which a module, or the package that holds it, is imported."""
    file = Path(str(module.__file__)).resolve()
    depth = module.__name__.count(".") + (file.name == "__init__.py")
    return str(file.parents[depth])


def _surroundings(code: FunctionType | type) -> Mapping[str, object]:
    """The values of the names around a function or class: of its module, and of its closure."""
    if isinstance(code, type):
        return vars(sys.modules[code.__module__])
    cells = zip(code.__code__.co_freevars, code.__closure__ or (), strict=True)
    return {**code.__globals__, **{name: cell.cell_contents for name, cell in cells}}


def _as(imported: str, name: str) -> str:
    return name if imported == name else f"{imported} as {name}"


def _is_import(part: str) -> bool:
    return part.startswith(("import ", "from "))
