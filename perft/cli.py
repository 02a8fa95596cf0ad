"""How a job becomes a program: options from a function, user errors as one line.

Exit status: 0 done, 1 a bug (with its traceback), 2 the user can fix it (one line on stderr), 130
the user has interrupted it.
"""

import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from perft.errors import InterruptedSearchError, PerftError

THREADS = {"GOMP_SPINCOUNT": "10000"}
"""Environment, read when torch is loaded: how long a thread spins for the others before it sleeps.

libgomp's default is thirty times that: on cores shared with Ray's processes, or with anything else,
training became some ten times slower. Not spinning at all costs 1.4 times on idle cores.
"""

Dtype = Literal["auto", "float32", "bfloat16", "float64"]
"""What `--dtype` takes."""

# Options that several jobs have, so that they read the same everywhere.
BaseOption = Annotated[
    str | None,
    typer.Option(help="Base: a hub id or a local directory.", show_default="embedded"),
]
DataOption = Annotated[
    str | None,
    typer.Option(help="Directory in the LLM-Adapters layout, or hub.", show_default="embedded"),
]
DtypeOption = Annotated[Dtype, typer.Option(help="Dtype of the base.")]
ExpertsOption = Annotated[
    str,
    typer.Option(
        help="How the base's experts are computed: auto, eager, or another of transformers' "
        "(grouped_mm, batched_mm, sonicmoe, deepgemm)."
    ),
]
StorageOption = Annotated[
    str,
    typer.Option(help="Directory or URI that holds searches.", show_default="~/.perft/searches"),
]
CheckpointingOption = Annotated[
    bool,
    typer.Option(
        "--checkpointing", help="Run the base's layers again in the backward pass, to save memory."
    ),
]
CompileOption = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the base, a minute once, for faster steps.",
        show_default="on GPUs",
    ),
]
RungAccuracyOption = Annotated[
    bool | None,
    typer.Option(
        "--rung-accuracy/--no-rung-accuracy",
        help="Generate answers at every rung, not only at full length.",
        show_default="only on the embedded base",
    ),
]
ValidationSizeOption = Annotated[int, typer.Option(min=1, help="Validation examples.")]


def run(command: Callable[..., None], args: Sequence[str] | None = None) -> None:
    """Runs `command` with options from `args` (default: the command line), then exits.

    The function's parameters become the options, its docstring the help text. A "~" that begins a
    value is the user's home, which shells leave as it is in `--option=~/place`.

    Raises:
        SystemExit: always, with the exit status.
    """
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command()(_at_home(command))
    try:
        app(args=None if args is None else list(args))
    except PerftError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(130 if isinstance(error, InterruptedSearchError) else 2)


def _at_home(command: Callable[..., None]) -> Callable[..., None]:
    """The command with "~" expanded in every option that is text or a path."""

    @functools.wraps(command)
    def expanded(**options: Any) -> None:
        command(**{name: _expanded(value) for name, value in options.items()})

    return expanded


def _expanded(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_expanded, value))
    if isinstance(value, (str, Path)) and str(value).startswith("~"):
        return type(value)(os.path.expanduser(value))  # noqa: PTH111 - leaves unknown users alone
    return value
