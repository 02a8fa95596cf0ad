"""Calls the functions of a search space, which are user code, with errors that name them."""

import contextlib
import inspect
import sys
import traceback
from collections.abc import Callable
from typing import TypeVar

from perft.checks import shown
from perft.errors import ConfigError, first_line
from perft.modules import USER_CODE_SECONDS, time_limit

T = TypeVar("T")


def result_of(kind: type[T], function: Callable[..., T], *args: object) -> T:
    """Calls a function of a user's file with a time limit and checks the type of its result.

    Args:
        kind: the type.
        function: the function.
        *args: its arguments.

    Raises:
        ConfigError: if it raises, does not end, or returns something else; names it and its line.
    """
    where = name_of(function)
    try:
        # What it prints must not mix with output that a program reads.
        with contextlib.redirect_stdout(sys.stderr), time_limit(USER_CODE_SECONDS, "it"):
            found = function(*args)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except (Exception, SystemExit) as error:
        raised = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"{where} raised {raised}{_line_of(error, function)}") from error
    if not isinstance(found, kind):
        raise ConfigError(f"{where} must return a {kind.__name__}, found {shown(found)}")
    return found


def name_of(function: Callable[..., object]) -> str:
    """A function's name, file and line, for errors."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = getattr(function, "__name__", shown(function))
    return f"{name} ({code.co_filename}, line {code.co_firstlineno})" if code else name


def _line_of(error: BaseException, function: Callable[..., object]) -> str:
    """The line of the function's own file that raised the error, directly or in a call."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if code and frame.filename == code.co_filename
    ]
    return f" in line {lines[-1]}" if lines else ""
