"""How the user calls a command of perft: as the one that runs was called, and from any folder."""

import shlex
import shutil
import sys
from pathlib import Path

_PASSING = "runtime_resources"
"""Folder of the copies that Ray makes of a submitted job's working directory, and deletes later."""


def command_line(command: str, *options: str) -> str:
    """What calls a command in a shell, whatever folder it is in.

    Args:
        command: its name, such as "pareto".
        options: options and values, unquoted.
    """
    return shlex.join([*_program(command), *options])


def arguments(command: str, *options: str) -> list[str]:
    """What calls a command from this machine: the path of a program, and its arguments.

    Args:
        command: its name, such as "search".
        options: options and values.
    """
    program, *rest = _program(command)
    return [shutil.which(program) or program, *rest, *options]


def _program(command: str) -> list[str]:
    script = Path(sys.argv[0]).resolve()
    job = script.with_name(f"{command}.py")
    is_job = script.parent.name == "jobs" and job.is_file()
    if is_job and _PASSING not in job.parts:
        return [_python(), str(job)]
    installed = Path(sys.executable).with_name("perft")
    if installed.is_file():
        return ["perft" if _is_on_path(installed) else str(installed), command]
    if is_job:  # the tree that was sent is where the user's shell is
        return ["python", f"jobs/{command}.py"]
    return [sys.executable, "-m", "perft", command]


def _python() -> str:
    """The interpreter that runs this: by its bare name where that names it everywhere."""
    return "python" if _is_on_path(Path(sys.executable).with_name("python")) else sys.executable


def _is_on_path(program: Path) -> bool:
    found = shutil.which(program.name)
    return found is not None and Path(found) == program
