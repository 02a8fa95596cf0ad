"""Makes a program of a function: parameters become options, errors become one line.

Exit status: 0 done, 1 a bug (with its traceback), 2 the user can fix it (one line on stderr), 130
the user has interrupted it.
"""

import inspect
import math
import os
import re
import signal
import sys
import textwrap
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

try:
    import typer
except ModuleNotFoundError:
    raise SystemExit(
        f"error: {sys.executable} lacks the packages of perft; in a clone, `make setup` makes "
        ".venv, and .venv/bin/python has them"
    ) from None
from typer.core import TyperCommand
from typer.exceptions import TyperException

from perft.failures import FIXABLE, ExitReport, exit_report
from perft.masking import masked

THREADS = {"GOMP_SPINCOUNT": "10000"}
"""Environment that torch reads when it is loaded: how long an OpenMP thread spins before it sleeps.

libgomp's default is thirty times as long and makes training some ten times slower on cores shared
with other processes, such as Ray's. Without spinning, a step takes 1.4 times as long on idle cores.
"""

MAX_VALUE_LENGTH = 4096
"""Most characters in the value of an option."""


def run(
    command: Callable[..., None], args: Sequence[str] | None = None, name: str | None = None
) -> None:
    """Runs `command` with options from `args` (default: the command line), then exits.

    The function's parameters become the options, its docstring the help text, in which the
    section "Examples:" comes last, after the options. A leading "~" in a value is the user's home,
    since shells do not expand it in `--option=~/place`.

    Args:
        command: what to run.
        args: options and values.
        name: the program's name in its help; by default its file's.

    Raises:
        SystemExit: always, with the exit status.
    """
    for variable, value in THREADS.items():
        os.environ.setdefault(variable, value)
    run_and_exit(lambda: _call(command, list(sys.argv[1:] if args is None else args), name))


def run_and_exit(program: Callable[[], None]) -> None:
    """Calls `program` and exits; an error becomes a message on stderr and the exit status.

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
        status = _say(
            ExitReport(FIXABLE, f"error: {masked(' '.join(error.format_message().split()))}")
        )
    except SystemExit:
        raise
    except BaseException as error:
        status = _say(exit_report(error))
    sys.exit(status)


def explicit_options(context: typer.Context) -> dict[str, object]:
    """The options that the command line sets, even to their defaults, by parameter."""
    return {
        name: value
        for name, value in context.params.items()
        if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


def option_name(parameter: str) -> str:
    """The option that sets a parameter, such as "--max-steps"."""
    return f"--{parameter.replace('_', '-')}"


def program_of(command: Callable[..., None]) -> TyperCommand:
    """The program of a command's function, with its options and its help."""
    text, _, examples = (inspect.getdoc(command) or "").partition("\n\nExamples:\n")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(help=text, epilog=f"\b\nExamples:\n{examples}" if examples else None)(command)
    program = typer.main.get_command(app)
    assert isinstance(program, TyperCommand), "it has one command"
    return program


def _call(command: Callable[..., None], args: list[str], program_name: str | None) -> None:
    program = program_of(command)
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
                hint = repr(option_name(name))
                raise typer.BadParameter(f"wanted a finite number, found {value}", param_hint=hint)
            context.params[name] = _at_home(value)
        program.invoke(context)


def _at_home(value: object) -> object:
    """Expands a leading "~" in an option's text or path, or in a list of them."""
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
    """Refuses a value that is empty, too long or not plain text."""
    reason = ""
    if not value.strip():
        reason = "is empty; give a value, or leave the option out"
    elif len(value) > MAX_VALUE_LENGTH:
        reason = f"has {len(value):,} characters, at most {MAX_VALUE_LENGTH:,} are read"
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        reason = f"{value!r} is no plain text"
    if reason:
        raise typer.BadParameter(reason, param_hint=repr(option) if option else None)


_PLAIN_WORDS: Mapping[str, str] = {
    "^Value error, ": "",
    "^Input should be a valid integer, .*": "wanted a whole number",
    "^Input should be a valid number, .*": "wanted a number",
    "^Input should be greater than or equal to ": "wanted at least ",
    "^Input should be less than or equal to ": "wanted at most ",
    "^Input should be greater than ": "wanted more than ",
    "^Input should be less than ": "wanted less than ",
}
"""What typer says of a value, as patterns, and what perft says."""


def _with_value(error: typer.BadParameter, values: Sequence[tuple[str, str]]) -> typer.BadParameter:
    """The error in plain words, with the value that was found, which typer often leaves out."""
    options: Sequence[str] = getattr(error.param, "opts", [])
    found = [value for option, value in values if option in options]
    if not found:
        return error
    message = error.message.rstrip(".")
    for words, plain in _PLAIN_WORDS.items():
        message = re.sub(words, plain, message)
    if repr(found[-1]) not in message:
        message = f"{message}, found {textwrap.shorten(found[-1], 60, placeholder='...')}"
    return typer.BadParameter(message, param_hint=repr(options[0]))


def _say(report: ExitReport) -> int:
    """Prints the report, unless its reader is gone, and returns the exit status."""
    for stream, text in ((sys.stdout, ""), (sys.stderr, report.text)):
        try:
            if stream:
                print(text, end="\n" if text else "", file=stream, flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return report.status
