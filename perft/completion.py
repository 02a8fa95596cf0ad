"""Lets shells complete `perft`: its commands, their options, and names of searches and spaces.

The work is typer's, which has to see all commands as one program.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from perft.cli import program_of


def complete(purposes: Mapping[str, str]) -> None:
    """Answers a shell that asks for completions, or shows or installs what makes it ask.

    Args:
        purposes: what each command is for, by its name.

    Raises:
        SystemExit: always, when it has answered.
    """
    app = typer.Typer(cls=_Commands)
    app.callback()(lambda: None)
    group = typer.main.get_command(app)
    assert isinstance(group, _Commands), "what it was made of"
    group.commands = {name: _Lazy(name, help=text) for name, text in purposes.items()}
    group.main(prog_name="perft")


class _Commands(TyperGroup):
    """All commands, in alphabetical order."""


class _Lazy(TyperCommand):
    """A command that is imported only when its own options are completed."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        module = importlib.import_module(f"perft.commands.{self.name}")
        return program_of(module.main).make_context(info_name, args, parent, **extra)
