"""Imports a user's own Python file: a search space, or the function that scores a task.

Invariant: a process imports a file once, under a name that follows from its path, so that everyone
who imports it gets the same objects.
"""

import hashlib
import importlib.util
import signal
import sys
import sysconfig
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Literal

from perft.errors import ConfigError
from perft.files import resolved

USER_CODE_SECONDS = 10.0
"""Processor time that the import of a user's file, or one call of a space, may take."""

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


def load_module(path: str | Path) -> ModuleType:
    """Imports a file; an error of the file's own code is raised unchanged.

    Raises:
        ConfigError: if there is no such file, or its code does not end.
    """
    file = resolved(path)
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
        with time_limit(USER_CODE_SECONDS, f"the import of {path}"):
            spec.loader.exec_module(module)
    except SystemExit as error:
        del sys.modules[name]
        raise ConfigError(f"{path} ends the program that imports it; let it only define") from error
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextmanager
def time_limit(seconds: float, what: str) -> Iterator[None]:
    """Stops a user's code inside that takes too long.

    Does nothing where no alarm can be set: on Windows, and outside the main thread.

    Args:
        seconds: processor time of this process that the code may take.
        what: what errors call it.

    Raises:
        ConfigError: when it took longer; names the line that it was at.
    """
    if threading.current_thread() is not threading.main_thread() or not hasattr(
        signal, "setitimer"
    ):
        yield
        return

    def end(_signal: int, frame: FrameType | None) -> None:
        at = f" ({frame.f_code.co_filename}, line {frame.f_lineno})" if frame else ""
        raise _EndlessError(f"{what} did not end within {seconds:g} seconds{at}")

    before = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    except _EndlessError as error:
        raise ConfigError(str(error)) from None
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, before)


class _EndlessError(BaseException):
    """Stops code that does not end; `except Exception` in it does not catch this."""
