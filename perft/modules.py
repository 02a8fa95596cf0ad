"""Runs a user's own Python file as a module: a search space, or the function that scores a task.

Invariant: one file is one module of a process, under a name that follows from its path, so that
what it defines is the same object wherever it is asked for.
"""

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from perft.errors import ConfigError


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
