"""How a command becomes a program: options from a function, errors as one line.

Exit status: 0 done, 1 a bug (with its traceback), 2 the user can fix it (one line on stderr), 130
the user has interrupted it.
"""

import math
import os
import signal
import sys
import textwrap
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import typer
from typer.exceptions import TyperException

from perft.failures import FIXABLE, Ending, ending_of
from perft.masking import masked

THREADS = {"GOMP_SPINCOUNT": "10000"}
"""Environment, read when torch is loaded: how long a thread spins for the others before it sleeps.

libgomp's default is thirty times that: on cores shared with Ray's processes, or with anything else,
training became some ten times slower. Not spinning at all costs 1.4 times on idle cores.
"""

LONGEST = 4096
"""Characters that the value of an option may have."""


def run(
    command: Callable[..., None], args: Sequence[str] | None = None, name: str | None = None
) -> None:
    """Runs `command` with options from `args` (default: the command line), then exits.

    The function's parameters become the options, its docstring the help text. A "~" that begins a
    value is the user's home, which shells leave as it is in `--option=~/place`.

    Args:
        command: what to run.
        args: options and values.
        name: of the program, as its help shows it; by default that of its file.

    Raises:
        SystemExit: always, with the exit status.
    """
    for variable, value in THREADS.items():
        os.environ.setdefault(variable, value)
    end(lambda: _call(command, list(sys.argv[1:] if args is None else args), name))


def end(program: Callable[[], None]) -> None:
    """Calls `program`, then exits; whatever it raises becomes the last words and the exit status.

    SIGTERM, which `ray job stop` sends, ends it as Ctrl-C does.

    Raises:
        SystemExit: always, with the exit status.
    """
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):  # a script's background jobs ignore SIGINT
            signal.signal(number, signal.default_int_handler)
    try:
        program()
        if sys.stdout:
            sys.stdout.flush()
        status = 0
    except typer.Exit as done:
        status = done.exit_code
    except TyperException as error:
        status = _say(Ending(FIXABLE, f"error: {masked(' '.join(error.format_message().split()))}"))
    except SystemExit:
        raise
    except BaseException as error:
        status = _say(ending_of(error))
    sys.exit(status)


def given(context: typer.Context) -> dict[str, object]:
    """The options that are on the command line, also those at their defaults, by parameter."""
    return {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def option_of(parameter: str) -> str:
    """How a parameter is written on the command line."""
    return f"--{parameter.replace('_', '-')}"


def _call(command: Callable[..., None], args: list[str], program_name: str | None) -> None:
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(command)
    program = typer.main.get_command(app)
    values = list(_values(args))
    for option, value in values:
        _require_text(option, value)
    try:
        context = program.make_context(program_name or Path(sys.argv[0]).name, args)
    except typer.BadParameter as error:
        raise _with_value(error, values) from None
    with context:
        for name, value in context.params.items():
            if isinstance(value, float) and not math.isfinite(value):
                hint = repr(option_of(name))
                raise typer.BadParameter(f"wanted a finite number, found {value}", param_hint=hint)
            context.params[name] = _at_home(value)
        program.invoke(context)


def _at_home(value: object) -> object:
    """The value of an option, with the "~" expanded that a text, a path or a list of them has."""
    if isinstance(value, (list, tuple)):
        return type(value)(map(_at_home, value))
    if isinstance(value, (str, Path)) and str(value).startswith("~"):
        return type(value)(os.path.expanduser(value))  # noqa: PTH111 - leaves unknown users alone
    return value


def _values(args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The values on a command line, each with its option."""
    option = ""
    for arg in args:
        is_option = arg.startswith("--")
        option, has_value, value = arg.partition("=") if is_option else (option, "=", arg)
        if has_value:
            yield option, value


def _require_text(option: str, value: str) -> None:
    """Refuses what no option takes: an empty value, an endless one, and what is no plain text."""
    reason = ""
    if not value.strip():
        reason = "is empty; give a value, or leave the option out"
    elif len(value) > LONGEST:
        reason = f"has {len(value):,} characters, at most {LONGEST:,} are read"
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        reason = f"{value!r} is no plain text"
    if reason:
        raise typer.BadParameter(reason, param_hint=repr(option) if option else None)


def _with_value(error: typer.BadParameter, values: Sequence[tuple[str, str]]) -> typer.BadParameter:
    """The error with the value that was found, which typer often keeps to itself."""
    options: Sequence[str] = getattr(error.param, "opts", [])
    found = [value for option, value in values if option in options]
    message = error.message.removeprefix("Value error, ").rstrip(".")
    if not found or repr(found[-1]) in message:
        return error
    shown = textwrap.shorten(found[-1], 60, placeholder="...")
    return typer.BadParameter(f"{message}, found {shown}", param_hint=repr(options[0]))


def _say(ending: Ending) -> int:
    """Prints the last words; what nobody reads any more is dropped. Returns the exit status."""
    for stream, text in ((sys.stdout, ""), (sys.stderr, ending.text)):
        try:
            if stream:
                print(text, end="\n" if text else "", file=stream, flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return ending.status
