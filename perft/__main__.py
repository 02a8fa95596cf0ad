"""`perft COMMAND`, also `python -m perft COMMAND`: a command is imported when it is called."""

import ast
import importlib
import os
import pkgutil
import sys
from pathlib import Path

import perft
from perft.cli import run, run_and_exit
from perft.errors import ConfigError, unknown

COMPLETING = "_PERFT_COMPLETE"
"""Environment variable by which a shell asks for completions."""

_FOLDER = Path(__file__).with_name("commands")


def main() -> None:
    """Runs the command that the command line names, then exits."""
    run_and_exit(_run)


def commands() -> list[str]:
    """Names of the commands, each that of its module, in alphabetical order."""
    return [module.name for module in pkgutil.iter_modules([str(_FOLDER)])]


def _run() -> None:
    name, *args = sys.argv[1:] or ["--help"]
    if name in ("--install-completion", "--show-completion") or COMPLETING in os.environ:
        from perft.completion import complete  # noqa: PLC0415 - seldom needed

        complete({each: _purpose(each) for each in commands()})
    elif name in commands():
        module = importlib.import_module(f"perft.commands.{name}")
        run(module.main, args, f"perft {name}")
    else:
        _say(name)


def _say(asked: str) -> None:
    if asked == "--version":
        print(f"perft {perft.__version__}")
    elif asked in ("--help", "-h"):
        print("Usage: perft COMMAND [OPTIONS]\n\nCommands:")
        for name in commands():
            print(f"  {name:10}{_purpose(name)}")
        print(
            "\nOptions:\n"
            "  --version              show the version\n"
            "  --install-completion   complete commands, options and names in the current shell\n"
            "  --show-completion      show what that installs\n"
            "\n`perft COMMAND --help` lists the options of one."
        )
    else:
        raise ConfigError(unknown("command", asked, commands()))


def _purpose(command: str) -> str:
    """First line of a command's docstring, read without importing its module."""
    text = ast.get_docstring(ast.parse((_FOLDER / f"{command}.py").read_text("utf-8"))) or ""
    return text.partition("\n")[0]


if __name__ == "__main__":
    main()
