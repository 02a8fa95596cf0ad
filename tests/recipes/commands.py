"""The commands of perft in the text of a recipe, and whether perft knows their options."""

import importlib
import re
import shlex
from pathlib import Path

import typer

from perft.__main__ import commands

REPOSITORY = Path(__file__).parents[2]

_COMMAND = re.compile(rf"\bperft (?:{'|'.join(commands())})\b[^|&;`\n]*")


def commands_in(text: str) -> list[list[str]]:
    """Every `perft COMMAND ...` of a text, in words; lines that end in a backslash go on."""
    joined = re.sub(r"\\\n[#\s]*", " ", text)
    return [shlex.split(found.rstrip("' ")) for found in _COMMAND.findall(joined)]


def require_known(words: list[str]) -> None:
    """Parses the options as perft does.

    Raises:
        typer.BadParameter: or another usage error, for one that there is not.
    """
    _, name, *args = words
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(f"perft.commands.{name}").main)
    typer.main.get_command(app).make_context(name, [_value(each) for each in args])


def _value(word: str) -> str:
    """A word of a shell, with something in place of its variables."""
    return re.sub(r"\$\{?\w+\}?", "mlflow", word)
