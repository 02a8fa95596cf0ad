"""A user's own Python file as a module: a search space, or the function that scores a task.

Invariant: one file is one module of a process, under a name that follows from its path, so that
what it defines is the same object wherever it is asked for.
"""

import hashlib
import importlib.util
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Literal

from perft.errors import ConfigError

Owner = Literal["perft", "library", "python", "user"]

_PERFT = Path(__file__).resolve().parent
_JOBS = _PERFT.with_name("jobs")
_STANDARD = Path(sysconfig.get_path("stdlib")).resolve()
_LIBRARIES = {"site-packages", "dist-packages"}


def owner_of(file: str) -> Owner:
    """Whose code a file holds: perft's, a library's, Python's own, or the user's."""
    path = Path(file).resolve()
    if path.is_relative_to(_PERFT) or path.is_relative_to(_JOBS):
        return "perft"
    if _LIBRARIES & set(path.parts):
        return "library"
    return "python" if file.startswith("<") or path.is_relative_to(_STANDARD) else "user"


def module_of(path: str | Path) -> ModuleType:
    """The module of a file; what goes wrong in the file's own code is raised as it is.

    Raises:
        ConfigError: if there is no such file.
    """
    file = Path(path).expanduser().resolve()
    if not file.is_file():
        raise ConfigError(f"{path} is no file here; name a Python file that is")
    name = f"{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
